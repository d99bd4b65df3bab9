"""HTTP around the REST API: connections, sizes, TLS, and draining."""

from __future__ import annotations

import contextlib
import http.server
import json
import logging
import socket
import socketserver
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator

from serving.listening import ListenAddress
from serving.rest_api import Response, error_response

Answer = Callable[[str, str, bytes], Response]

# Each connection has a thread; those beyond are told to come back later.
_MAX_CONNECTIONS = 256

# A connection on which nothing happens for so many seconds is closed.
_IDLE_SECONDS = 60.0

# What is read and thrown away of a body that is too large, so that its sender sees the answer
# instead of a broken connection.
_MAX_DISCARDED_BYTES = 16 * 1024 * 1024

_log = logging.getLogger(__name__)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "ctnet"
    sys_version = ""
    timeout = _IDLE_SECONDS
    # A response goes out in two writes, which Nagle's algorithm would hold apart by 40 ms.
    disable_nagle_algorithm = True
    server: _HttpServer

    def handle_one_request(self) -> None:
        """Answer one request; once the server drains, the connection ends with it."""
        try:
            self.raw_requestline = self.rfile.readline(65537)
        # A client who hangs up or speaks no TLS is nobody's fault here.
        except OSError:
            self.close_connection = True
            return
        if not self.raw_requestline:
            self.close_connection = True
            return
        with self.server.busy(self.connection):
            try:
                self._respond()
            except OSError:
                self.close_connection = True
        if self.server.draining:
            self.close_connection = True

    def _respond(self) -> None:
        if len(self.raw_requestline) > 65536:
            self.requestline, self.request_version, self.command = "", "", ""
            self.send_error(414)
            return
        if not self.parse_request():
            return
        body = self._body()
        if isinstance(body, Response):
            self.close_connection = True
            self._send(body)
        elif self.command in ("GET", "HEAD", "POST"):
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path, errors="replace")
            method = "GET" if self.command == "HEAD" else self.command
            self._send(self.server.answer(method, path, body))
        else:
            self._send(error_response(405, f"Method not allowed: {self.command}"))
        self.wfile.flush()

    def _body(self) -> bytes | Response:
        """The request's body, or the response to one that cannot be read."""
        if "transfer-encoding" in self.headers:
            return error_response(501, "send the body with Content-Length, not in chunks")
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
            self._discard(min(length, _MAX_DISCARDED_BYTES))
            return error_response(413, f"the body has {length} bytes, more than {limit}")
        body = self.rfile.read(length)
        if len(body) < length:
            return error_response(400, f"the body ended after {len(body)} of {length} bytes")
        return body

    def handle_expect_100(self) -> bool:
        """Ask for the body, but not for one that is too large."""
        text = self.headers.get("content-length") or ""
        if text.isascii() and text.isdigit() and int(text[:19]) > self.server.max_body_bytes:
            self.close_connection = True
            limit = self.server.max_body_bytes
            self._send(error_response(413, f"the body has more than {limit} bytes"))
            return False
        return super().handle_expect_100()

    def _discard(self, length: int) -> None:
        while length > 0:
            read = len(self.rfile.read(min(length, 65536)))
            if not read:
                return
            length -= read

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        if self.close_connection or self.server.draining:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that is no HTTP, in the form of the other errors."""
        self.close_connection = True
        self._send(error_response(code, message or self.responses.get(code, ("error",))[0]))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: requests are counted in the metrics."""


class _HttpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(
        self,
        where: ListenAddress,
        answer: Answer,
        max_body_bytes: int,
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
        self.draining = False
        self._busy: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        with self._changed:
            full = len(self._open) >= _MAX_CONNECTIONS
            if not full:
                self._open.add(request)
        if full:
            self._turn_away(request)
            return
        super().process_request(request, client_address)

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
            self._open.discard(request)
            self._changed.notify_all()
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        _log.debug("a connection from %s failed", client_address, exc_info=True)

    @contextlib.contextmanager
    def busy(self, connection: socket.socket) -> Iterator[None]:
        """Mark a connection that answers a request, until the block ends."""
        with self._changed:
            self._busy.add(connection)
        try:
            yield
        finally:
            with self._changed:
                self._busy.discard(connection)
                self._changed.notify_all()

    def drain(self, seconds: float) -> None:
        """Close idle connections now, and the others when their request is answered."""
        until = time.monotonic() + seconds
        with self._changed:
            self.draining = True
            while self._open:
                for connection in self._open - self._busy:
                    # Ends the wait for a next request; what is being sent still goes out.
                    with contextlib.suppress(OSError):
                        # Not SSLSocket's own, which would go on in plain text.
                        socket.socket.shutdown(connection, socket.SHUT_RD)
                left = until - time.monotonic()
                if left <= 0.0:
                    break
                self._changed.wait(left)
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
        tls: ssl.SSLContext | None = None,
    ):
        """Bind the port; nothing is answered before `start`.

        Args:
          where: what to listen on.
          answer: answers a request by its method, path and body.
          max_body_bytes: the largest body of a request.
          tls: for HTTPS.

        Raises:
          ConfigError: the port was taken just now.
        """
        try:
            self._server = _HttpServer(where, answer, max_body_bytes, tls)
        except OSError as error:
            raise where.taken((error.strerror or str(error)).lower()) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="rest", daemon=True
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
