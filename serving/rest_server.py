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
from collections.abc import Callable, Iterator

from serving.listening import ListenAddress
from serving.pending_bytes import Claim, PendingBytes
from serving.request_error import RequestError
from serving.rest_api import Response, error_response
from serving.server_options import REST_TIMEOUT_SECONDS

Answer = Callable[[str, str, bytes], Response]

# Each connection has a thread; those beyond are told to come back later.
_MAX_CONNECTIONS = 256

# A connection that asks nothing for so many seconds is closed.
_IDLE_SECONDS = 60.0

# What is read and thrown away after a refusal, and for how many seconds, so that who still sends a
# body sees the answer instead of a broken connection.
_MAX_DISCARDED_BYTES = 16 * 1024 * 1024
_LINGER_SECONDS = 2.0

_PART_BYTES = 1024 * 1024

# Between two looks for connections that take too long.
_POLL_SECONDS = 0.05

_log = logging.getLogger(__name__)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "ctnet"
    sys_version = ""
    # A response goes out in two writes, which Nagle's algorithm would hold apart by 40 ms.
    disable_nagle_algorithm = True
    server: _HttpServer
    rfile: io.BufferedReader

    def handle_one_request(self) -> None:
        """Answer one request; once the server drains, the connection ends with it."""
        try:
            begun = self.rfile.peek(1)
        # A client who hangs up or speaks no TLS is nobody's fault here.
        except OSError:
            begun = b""
        if not begun:
            self.close_connection = True
            return
        with self.server.busy(self.connection):
            try:
                self.raw_requestline = self.rfile.readline(65537)
                self._respond()
            except OSError:
                self.close_connection = True
        if self.server.draining or self.server.is_cut(self.connection):
            self.close_connection = True

    def _respond(self) -> None:
        # Read as far as it goes, half a line would be a request of HTTP 0.9.
        if not self.raw_requestline.endswith(b"\n"):
            self.requestline, self.request_version, self.command = "", "", ""
            self.send_error(414 if len(self.raw_requestline) > 65536 else 400)
            return
        if not self.parse_request():
            return
        with self.server.pending.claim() as claim:
            body = self._body(claim)
            if isinstance(body, bytes):
                self._answer(body)
                return
        self._refuse(body)

    def _answer(self, body: bytes) -> None:
        if self.command not in ("GET", "HEAD", "POST"):
            self._send(error_response(405, f"Method not allowed: {self.command}"))
            return
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path, errors="replace")
        method = "GET" if self.command == "HEAD" else self.command
        # How long an answer takes is limited by who gives it.
        self.server.allow(self.connection, math.inf)
        self._send(self.server.answer(method, path, body))

    def _body(self, claim: Claim) -> bytes | Response:
        """The request's body, or the response to one that cannot be used."""
        body = self._read_body(claim)
        # What was cut off may look like a whole request.
        return self._too_late() if self.server.is_cut(self.connection) else body

    def _read_body(self, claim: Claim) -> bytes | Response:
        if "transfer-encoding" in self.headers:
            return error_response(411, "send the body with Content-Length, not in chunks")
        if self.headers.get("content-encoding", "identity").lower() != "identity":
            return error_response(415, "send the body without Content-Encoding")
        text = self.headers.get("content-length")
        if text is None:
            if self.command == "POST":
                return error_response(411, "send Content-Length")
            return b""
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            return error_response(400, "Content-Length is not a number of bytes")
        length = int(text)
        limit = self.server.max_body_bytes
        if length > limit:
            return error_response(413, f"the body has {length} bytes, more than {limit}")
        # Counted as it arrives: who only announces a body takes no room from the others.
        body = io.BytesIO()
        while (left := length - body.tell()) > 0:
            part = self.rfile.read(min(left, _PART_BYTES))
            if not part:
                return error_response(400, f"the body ended after {body.tell()} of {length} bytes")
            try:
                claim.add(len(part))
            except RequestError as error:
                return error_response(429, error.message)
            body.write(part)
        return body.getvalue()

    def handle_expect_100(self) -> bool:
        """Ask for the body, but not for one that is too large."""
        text = self.headers.get("content-length") or ""
        if text.isascii() and text.isdigit() and int(text[:19]) > self.server.max_body_bytes:
            limit = self.server.max_body_bytes
            self._refuse(error_response(413, f"the body has more than {limit} bytes"))
            return False
        return super().handle_expect_100()

    def _too_late(self) -> Response:
        seconds = self.server.request_seconds
        return error_response(
            408, f"the request did not arrive within {seconds:g} s: send it again"
        )

    def _refuse(self, response: Response) -> None:
        """Answer a request that was not read to its end, and close the connection."""
        self.close_connection = True
        self._send(response)
        self.server.allow(self.connection, _LINGER_SECONDS)
        # Not SSLSocket's own, which would go on in plain text.
        socket.socket.shutdown(self.connection, socket.SHUT_WR)
        left = _MAX_DISCARDED_BYTES
        while left > 0 and (discarded := len(self.rfile.read1(65536))):
            left -= discarded

    def _send(self, response: Response) -> None:
        self.server.allow(self.connection, self.server.request_seconds)
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection or self.server.draining:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)
        self.wfile.flush()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that is no HTTP, in the form of the other errors."""
        if self.server.is_cut(self.connection):
            self._refuse(self._too_late())
        else:
            self._refuse(error_response(code, message or self.responses.get(code, ("error",))[0]))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: requests are counted in the metrics."""


@dataclasses.dataclass
class _Connection:
    """What a connection does, and until when it may, in seconds of `time.monotonic`.

    One that is cut sends nothing more that is read; what it was answered still goes out.
    """

    until: float
    idle: bool = True
    cut: bool = False


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
        if not idle:
            return False
        self._cut(min(idle, key=lambda one: staying[one].until))
        return True

    def _cut(self, connection: socket.socket) -> None:
        """Let a connection read nothing more, which ends it when it has answered."""
        self._open[connection].cut = True
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

    def allow(self, connection: socket.socket, seconds: float) -> None:
        """Give a connection so long for what it does now."""
        with self._changed:
            self._open[connection].until = time.monotonic() + seconds

    @contextlib.contextmanager
    def busy(self, connection: socket.socket) -> Iterator[None]:
        """Mark a connection that a request comes in on and is answered, until the block ends."""
        with self._changed:
            self._open[connection].idle = False
        self.allow(connection, self.request_seconds)
        try:
            yield
        finally:
            with self._changed:
                self._open[connection].idle = True
                self._changed.notify_all()
            self.allow(connection, _IDLE_SECONDS)

    def service_actions(self) -> None:
        """Cut what takes too long: a limit on each read would let one byte a second pass."""
        now = time.monotonic()
        with self._changed:
            for connection, state in self._open.items():
                if now < state.until:
                    continue
                if not state.cut:
                    self._cut(connection)
                    state.until = now + _LINGER_SECONDS
                else:
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def drain(self, seconds: float) -> None:
        """Close idle connections now, and the others when their request is answered."""
        until = time.monotonic() + seconds
        with self._changed:
            self.draining = True
            while self._open:
                for connection, state in self._open.items():
                    if state.idle:
                        self._cut(connection)
                self.service_actions()
                left = until - time.monotonic()
                if left <= 0.0:
                    break
                self._changed.wait(min(left, _POLL_SECONDS))
            late = list(self._open)
        for connection in late:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


class RestServer:
    """Answers HTTP requests in threads of this process."""

    def __init__(
        self,
        where: ListenAddress,
        answer: Answer,
        *,
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
