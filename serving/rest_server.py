"""HTTP around the REST API: connections, sizes, time limits, TLS, and draining."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import io
import json
import logging
import math
import socket
import socketserver
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from serving.listening import ListenAddress
from serving.pending_bytes import ArrivingClaim, PendingBytes
from serving.request_error import RequestError
from serving.rest_api import Response, error_response
from serving.server_options import REST_TIMEOUT_SECONDS

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Answer = Callable[[str, str, bytes], Response]

# Each connection has a thread; those beyond are told to come back later.
_MAX_CONNECTIONS = 256

# A connection that asks nothing for so many seconds is closed.
_IDLE_SECONDS = 60.0

# What is read and thrown away after a refusal, and for how many seconds, so that who still sends a
# body sees the answer instead of a broken connection.
_MAX_DISCARDED_BYTES = 16 * 1024 * 1024
_LINGER_SECONDS = 2.0

# Of a body, read at once.
_PART_BYTES = 64 * 1024

# Between two looks for connections that take too long.
_POLL_SECONDS = 0.05

_log = logging.getLogger(__name__)


class _Incoming(io.RawIOBase):
    """What a client sends.

    Attributes:
      between_requests: whether the next byte begins a request. Until it comes, the connection is
        idle.
      ended: whether the end was read: the client's, or the one of a connection that was cut.
    """

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, server: _HttpServer):
        self.between_requests = False
        self.ended = False
        self._raw = raw
        self._connection = connection
        self._server = server

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        """Read what there is, or wait for it; 0 is the end."""
        if self.between_requests and not self._is_decrypted():
            self._server.rest(self._connection)
            # Only looked at, so that who looks for idle connections finds it there as well until
            # this one is no longer idle. Not SSLSocket's own, which cannot.
            socket.socket.recv(self._connection, 1, socket.MSG_PEEK)
            self._server.begin(self._connection)
        self.between_requests = False
        size = self._raw.readinto(buffer)
        self.ended = not size
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()

    def _is_decrypted(self) -> bool:
        """Whether there are bytes that came in one piece with others, which were read."""
        return isinstance(self._connection, ssl.SSLSocket) and self._connection.pending() > 0


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "ctnet"
    sys_version = ""
    # A response goes out in two writes, which Nagle's algorithm would hold apart by 40 ms.
    disable_nagle_algorithm = True
    # Buffered on top of _Incoming.
    rbufsize = 0
    server: _HttpServer
    rfile: io.BufferedReader

    def setup(self) -> None:
        """Make streams of the connection."""
        super().setup()
        raw = cast(io.RawIOBase, self.rfile)
        self._incoming = _Incoming(raw, self.connection, self.server)
        self.rfile = io.BufferedReader(self._incoming)

    def handle(self) -> None:
        """Answer requests until either side ends the connection."""
        if isinstance(self.connection, ssl.SSLSocket):
            try:
                self.connection.do_handshake()
            # A client who hangs up or speaks no TLS is nobody's fault here.
            except OSError:
                return
        super().handle()

    def handle_one_request(self) -> None:
        """Answer one request; a connection that was cut ends with it."""
        try:
            self._incoming.between_requests = True
            begun = self.rfile.peek(1)
            self._incoming.between_requests = False
            if not begun:
                self.close_connection = True
                return
            self.server.begin(self.connection)
            self.raw_requestline = self.rfile.readline(65537)
            self._respond()
        # A client who hangs up is nobody's fault here.
        except OSError:
            self.close_connection = True
        if self.server.is_cut(self.connection):
            self.close_connection = True

    def _respond(self) -> None:
        # Read as far as it goes, half a line would be a request of HTTP 0.9.
        if not self.raw_requestline.endswith(b"\n"):
            self.requestline, self.request_version, self.command = "", "", ""
            if len(self.raw_requestline) > 65536:
                self.send_error(414)
            else:
                self._end_early("the request ended in its first line")
            return
        if not self.parse_request():
            return
        # Headers that were cut off look like whole ones.
        if self._incoming.ended:
            self._end_early("the request ended in its headers")
        elif self._takes_body():
            self._respond_to_body()
        elif self._announces_body():
            self._refuse(self._answer(b""))
        else:
            self._send(self._answer(b""))

    def _answer(self, body: bytes) -> Response:
        if self.command not in ("GET", "HEAD", "POST"):
            return error_response(405, f"Method not allowed: {self.command}")
        method = "GET" if self.command == "HEAD" else self.command
        # How long an answer takes is limited by who gives it.
        self.server.allow(self.connection, math.inf)
        return self.server.answer(method, self._decoded_path(), body)

    def _decoded_path(self) -> str:
        return urllib.parse.unquote(urllib.parse.urlsplit(self.path).path, errors="replace")

    def _takes_body(self) -> bool:
        """Whether the answer depends on a body."""
        return self.command == "POST" and self.server.takes_body(self._decoded_path())

    def _announces_body(self) -> bool:
        lengths = self.headers.get_all("content-length", [])
        return "transfer-encoding" in self.headers or any(text != "0" for text in lengths)

    def _respond_to_body(self) -> None:
        length = self._body_length()
        if isinstance(length, Response):
            self._refuse(length)
            return
        try:
            with self.server.pending.arriving() as claim:
                body = self._read_body(length, claim)
                whole = len(body) == length
                if whole:
                    claim.arrived()
                    response = self._answer(body)
        except RequestError as error:
            self._refuse(error_response(429, error.message))
            return
        if whole:
            self._send(response)
        else:
            self._end_early(f"the body ended after {len(body)} of {length} bytes")

    def _body_length(self) -> int | Response:
        """The size of the body in bytes, or the response to one that cannot be used."""
        if "transfer-encoding" in self.headers:
            return error_response(411, "send the body with Content-Length, not in chunks")
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            return error_response(415, "send the body without Content-Encoding")
        text = self.headers.get("content-length")
        if text is None:
            return error_response(411, "send Content-Length")
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            return error_response(400, "Content-Length is not a number of bytes")
        length = int(text)
        limit = self.server.max_body_bytes
        if length > limit:
            return error_response(413, f"the body has {length} bytes, more than {limit}")
        return length

    def _read_body(self, length: int, claim: ArrivingClaim) -> bytes:
        """The body, or what came of it.

        Raises:
          RequestError: RESOURCE_EXHAUSTED where there is no room for it.
        """
        body = io.BytesIO()
        # Counted as it arrives: who only announces a body takes no room from the others.
        while part := self.rfile.read1(min(length - body.tell(), _PART_BYTES)):
            claim.add(len(part))
            body.write(part)
        return body.getvalue()

    def handle_expect_100(self) -> bool:
        """Ask for the body, but not for one that is not read."""
        if not self._takes_body():
            return True
        text = self.headers.get("content-length") or ""
        if text.isascii() and text.isdigit() and int(text[:19]) > self.server.max_body_bytes:
            limit = self.server.max_body_bytes
            self._refuse(error_response(413, f"the body has more than {limit} bytes"))
            return False
        return super().handle_expect_100()

    def _end_early(self, found: str) -> None:
        """Close the connection after half a request, and say whose doing it was.

        Args:
          found: what is wrong with the request where the client ended it.
        """
        if self.server.is_late(self.connection):
            seconds = self.server.request_seconds
            message = f"the request did not arrive within {seconds:g} s: send it again"
            self._refuse(error_response(408, message))
        elif self.server.is_cut(self.connection):
            # It was idle when it was cut: without any answer a client asks again elsewhere.
            self.close_connection = True
        else:
            self._refuse(error_response(400, found))

    def _refuse(self, response: Response) -> None:
        """Answer a request that was not read to its end, and close the connection."""
        self.close_connection = True
        self._send(response)
        self.server.allow(self.connection, _LINGER_SECONDS)
        # Not SSLSocket's own, which would go on in plain text.
        socket.socket.shutdown(self.connection, socket.SHUT_WR)
        left = _MAX_DISCARDED_BYTES
        while left > 0 and (discarded := len(self.rfile.read1(_PART_BYTES))):
            left -= discarded

    def _send(self, response: Response) -> None:
        self.server.allow(self.connection, self.server.request_seconds)
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection or self.server.draining or self.server.is_cut(self.connection):
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)
        self.wfile.flush()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that is no HTTP, in the form of the other errors."""
        self._refuse(error_response(code, message or self.responses.get(code, ("error",))[0]))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: requests are counted in the metrics."""


@dataclasses.dataclass
class _Connection:
    """What a connection does.

    Attributes:
      until: how long it may, in seconds of `time.monotonic`.
      idle: whether it waits for a request of which nothing has come.
      cut: whether what it sends from now on is not read; what it is answered still goes out.
      late: whether it was cut because a request or its answer took too long.
    """

    until: float
    idle: bool = True
    cut: bool = False
    late: bool = False


class _HttpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self,
        where: ListenAddress,
        answer: Answer,
        *,
        takes_body: Callable[[str], bool],
        max_body_bytes: int,
        request_seconds: float,
        max_connections: int,
        pending: PendingBytes,
        tls: ssl.SSLContext | None,
    ):
        self.address_family = where.family
        super().__init__((where.address, where.port), _Handler)
        if tls is not None:
            # The handshake is left to the connection's own thread: a slow one holds up nobody.
            self.socket = tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        self.answer = answer
        self.takes_body = takes_body
        self.max_body_bytes = max_body_bytes
        self.request_seconds = request_seconds
        self.pending = pending
        self.draining = False
        self._max_connections = max_connections
        self._open: dict[socket.socket, _Connection] = {}
        self._changed = threading.Condition()

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        with self._changed:
            room = self._make_room()
            if room:
                self._open[request] = _Connection(time.monotonic() + _IDLE_SECONDS)
        if not room:
            self._turn_away(request)
            return
        super().process_request(request, client_address)

    def _make_room(self) -> bool:
        """Whether there is room for a connection; the longest idle one gives way."""
        staying = {
            one: state for one, state in self._open.items() if not (state.idle and state.cut)
        }
        if len(staying) < self._max_connections:
            return True
        idle = [one for one, state in staying.items() if state.idle]
        return any(self._cut_idle(one) for one in sorted(idle, key=lambda one: staying[one].until))

    def _cut_idle(self, connection: socket.socket) -> bool:
        """End a connection unless a request has come that its thread did not take up yet."""
        try:
            flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
            # Not SSLSocket's own, which cannot.
            if socket.socket.recv(connection, 1, flags):
                return False
        except OSError:
            pass
        self._cut(connection)
        return True

    def _cut(self, connection: socket.socket) -> None:
        """Let a connection read nothing more, which ends it when it has answered."""
        state = self._open[connection]
        state.cut = True
        state.until = time.monotonic() + _LINGER_SECONDS
        with contextlib.suppress(OSError):
            # Not SSLSocket's own, which would go on in plain text.
            socket.socket.shutdown(connection, socket.SHUT_RD)

    def _turn_away(self, request: socket.socket) -> None:
        if not isinstance(request, ssl.SSLSocket):
            body = json.dumps({"error": "too many connections; try again later"}).encode()
            head = (
                "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            with contextlib.suppress(OSError):
                request.sendall(head.encode() + body)
        self.shutdown_request(request)

    def shutdown_request(self, request: object) -> None:
        assert isinstance(request, socket.socket)
        with self._changed:
            self._open.pop(request, None)
            self._changed.notify_all()
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        _log.debug("a connection from %s failed", client_address, exc_info=True)

    def is_cut(self, connection: socket.socket) -> bool:
        """Whether a connection was cut, so that what it sent may be incomplete."""
        return self._open[connection].cut

    def is_late(self, connection: socket.socket) -> bool:
        """Whether a connection was cut because it took too long."""
        return self._open[connection].late

    def allow(self, connection: socket.socket, seconds: float) -> None:
        """Give a connection so long for what it does now."""
        with self._changed:
            self._open[connection].until = time.monotonic() + seconds

    def rest(self, connection: socket.socket) -> None:
        """Note that a connection waits for a request."""
        with self._changed:
            # A new one has been idle since it was accepted.
            if not self._open[connection].idle:
                self._open[connection].idle = True
                self.allow(connection, _IDLE_SECONDS)
                self._changed.notify_all()

    def begin(self, connection: socket.socket) -> None:
        """Note that a request has begun to come in."""
        with self._changed:
            self._open[connection].idle = False
            self.allow(connection, self.request_seconds)

    def service_actions(self) -> None:
        """Cut what takes too long: a limit on each read would let one byte a second pass."""
        now = time.monotonic()
        with self._changed:
            for connection, state in self._open.items():
                if now < state.until:
                    continue
                if state.cut:
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(connection, socket.SHUT_RDWR)
                elif state.idle:
                    self._cut_idle(connection)
                else:
                    state.late = True
                    self._cut(connection)

    def drain(self, seconds: float) -> None:
        """Close idle connections now, and the others when their request is answered."""
        until = time.monotonic() + seconds
        with self._changed:
            self.draining = True
            while self._open:
                for connection, state in self._open.items():
                    if state.idle and not state.cut:
                        self._cut_idle(connection)
                self.service_actions()
                left = until - time.monotonic()
                if left <= 0.0:
                    break
                self._changed.wait(min(left, _POLL_SECONDS))
            for connection, state in self._open.items():
                state.cut = True
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)


class RestServer:
    """Answers HTTP requests in threads of this process."""

    def __init__(
        self,
        where: ListenAddress,
        answer: Answer,
        *,
        takes_body: Callable[[str], bool] = lambda _: True,
        max_body_bytes: int,
        request_seconds: float = REST_TIMEOUT_SECONDS,
        max_connections: int = _MAX_CONNECTIONS,
        pending: PendingBytes | None = None,
        tls: ssl.SSLContext | None = None,
    ):
        """Bind the port; nothing is answered before `start`.

        Args:
          where: what to listen on.
          answer: answers a request by its method, path and body.
          takes_body: whether a POST to a path needs its body; where not, it is not read.
          max_body_bytes: the largest body of a request.
          request_seconds: how long a request may take to come in from its first byte to its last,
            and its answer to go out.
          max_connections: how many there can be; beyond, the longest idle one gives way, or where
            none is idle the new one is answered with 503.
          pending: a budget that bodies are counted in; None for one of its own.
          tls: for HTTPS.

        Raises:
          ConfigError: the port was taken just now.
        """
        try:
            self._server = _HttpServer(
                where,
                answer,
                takes_body=takes_body,
                max_body_bytes=max_body_bytes,
                request_seconds=request_seconds,
                max_connections=max_connections,
                pending=pending or PendingBytes(),
                tls=tls,
            )
        except OSError as error:
            raise where.taken((error.strerror or str(error)).lower()) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="rest", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Accept no more, answer what was accepted, and free the port.

        Args:
          grace: seconds after which connections are cut.
        """
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._server.drain(grace)
