"""Nobody holds the connections of the REST API by being slow."""

import collections
import contextlib
import http.client
import json
import socket
import threading
import time

import pytest

from serving.listening import listen_address
from serving.pending_bytes import PendingBytes
from serving.request_error import RequestError
from serving.rest_api import Response
from serving.rest_server import RestServer

LIMIT = 0.5
HEAD = b"POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n"


class Http:
    """A server whose answers to /hold wait until they are let."""

    def __init__(self):
        self.go, self.held = threading.Event(), threading.Semaphore(0)
        self.body = b"{}"
        self.server = None

    def answer(self, method, path, body):
        if path == "/hold":
            self.held.release()
            assert self.go.wait(30)
        return Response(200, self.body)

    def start(self, **options):
        where = listen_address("127.0.0.1", 0)
        self.server = RestServer(where, self.answer, max_body_bytes=10_000_000, **options)
        self.server.start()
        return self

    def connect(self):
        return contextlib.closing(socket.create_connection(("127.0.0.1", self.server.port), 30))

    def keep_alive(self):
        return contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        )

    def status(self, path="/", body=None):
        with self.keep_alive() as connection:
            connection.request("GET" if body is None else "POST", path, body)
            return connection.getresponse().status


@pytest.fixture
def http_server():
    made = Http()
    yield made
    made.go.set()
    made.server.stop(10)


def status_of(connection):
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, json.loads(response.read())


def trickle(connection, byte):
    """Send a byte again and again until the other side answers or hangs up."""
    connection.settimeout(0.05)
    end = time.monotonic() + 30
    while True:
        assert time.monotonic() < end, "a slow sender goes on for ever"
        with contextlib.suppress(TimeoutError):
            connection.recv(1, socket.MSG_PEEK)
            break
        connection.sendall(byte)
    connection.settimeout(30)


@pytest.mark.parametrize(
    "begun", [b"", HEAD + b"X-Slow: ", HEAD + b"\r\n"], ids=["request line", "headers", "body"]
)
def test_who_sends_a_byte_at_a_time_is_told_that_it_takes_too_long(http_server, begun):
    http_server.start(request_seconds=LIMIT)
    with http_server.connect() as connection:
        connection.sendall(begun)
        started = time.monotonic()
        trickle(connection, b"G")
        assert time.monotonic() - started >= LIMIT / 2
        status, error = status_of(connection)
        assert status == 408
        assert f"{LIMIT:g} s" in error["error"]
        assert connection.recv(1) == b""


def test_headers_that_were_cut_off_are_no_request(http_server):
    http_server.start(request_seconds=LIMIT)
    with http_server.connect() as connection:
        connection.sendall(b"GET /hold HTTP/1.1\r\nHost: x\r\n")
        assert status_of(connection)[0] == 408
    assert not http_server.held.acquire(blocking=False)


def test_an_answer_may_take_longer_than_its_request(http_server):
    http_server.start(request_seconds=LIMIT)
    with http_server.connect() as connection:
        connection.sendall(HEAD + b"\r\n" + b"x" * 900)
        assert http_server.held.acquire(timeout=30)
        time.sleep(2 * LIMIT)
        http_server.go.set()
        assert status_of(connection)[0] == 200


@pytest.mark.slow
def test_who_does_not_read_the_answer_makes_room(http_server):
    http_server.body = b"x" * 50_000_000
    http_server.start(request_seconds=LIMIT, max_connections=1)
    with http_server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.recv(1)
        http_server.body = b"{}"
        end = time.monotonic() + 30
        while (status := http_server.status()) != 200:
            assert status == 503
            assert time.monotonic() < end
            time.sleep(0.05)


def test_connections_beyond_the_limit_are_refused_at_once(http_server):
    http_server.start(max_connections=2)
    with http_server.connect() as first, http_server.connect() as second:
        for connection in (first, second):
            connection.sendall(HEAD + b"\r\n" + b"x" * 900)
            assert http_server.held.acquire(timeout=30)
        assert http_server.status() == 503
        http_server.go.set()
        for connection in (first, second):
            assert status_of(connection)[0] == 200


def test_the_longest_idle_connection_gives_way_to_a_new_one(http_server):
    http_server.start(max_connections=2)
    with http_server.connect() as oldest, http_server.keep_alive() as newer:
        for _ in range(2):
            newer.request("GET", "/")
            response = newer.getresponse()
            assert (response.status, response.read()) == (200, b"{}")
        assert http_server.status() == 200
        assert oldest.recv(1) == b""
        newer.request("GET", "/")
        assert newer.getresponse().status == 200


def test_more_clients_than_connections_get_whole_answers_or_none(http_server):
    http_server.start(max_connections=4)
    statuses = collections.Counter()
    end = time.monotonic() + 1.5

    def ask_again_and_again():
        while time.monotonic() < end:
            # Closed where it gives way to another.
            closed = contextlib.suppress(OSError, http.client.HTTPException)
            with closed, http_server.keep_alive() as connection:
                while time.monotonic() < end:
                    connection.request("POST", "/", b"{}")
                    response = connection.getresponse()
                    response.read()
                    statuses[response.status] += 1
                    # Where nothing rests, nothing gives way.
                    time.sleep(0.002)

    clients = [threading.Thread(target=ask_again_and_again) for _ in range(6)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(30)
    assert statuses[200] > 10
    assert set(statuses) <= {200, 503}


def test_who_ends_a_request_too_early_is_told_so(http_server):
    http_server.start()
    for half in (b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\n", HEAD + b"\r\nx"):
        with http_server.connect() as connection:
            connection.sendall(half)
            connection.shutdown(socket.SHUT_WR)
            status, error = status_of(connection)
            assert status == 400
            assert "ended" in error["error"]
    assert not http_server.held.acquire(blocking=False)


@pytest.mark.parametrize(
    ("header", "status"),
    [(b"Transfer-Encoding: chunked", 411), (b"Content-Length: 9\r\nContent-Encoding: gzip", 415)],
)
def test_who_sends_a_body_of_a_refused_kind_sees_why(http_server, header, status):
    http_server.start()
    with http_server.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n")
        for _ in range(20):
            connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        found, error = status_of(connection)
        assert found == status
        assert "\n" not in error["error"]


def test_a_body_beyond_the_budget_of_all_requests_is_refused(http_server):
    http_server.start(pending=PendingBytes(1000))
    with http_server.connect() as connection:
        connection.sendall(HEAD + b"\r\n" + b"x" * 900)
        assert http_server.held.acquire(timeout=30)
        assert http_server.status(body=b"x" * 200) == 429
        assert http_server.status(body=b"x" * 50) == 200
        http_server.go.set()
        assert status_of(connection)[0] == 200
    end = time.monotonic() + 30
    while http_server.status(body=b"x" * 200) != 200:
        assert time.monotonic() < end


def test_who_only_announces_a_body_takes_no_room_from_others(http_server):
    http_server.start(pending=PendingBytes(1000))
    with http_server.connect() as connection:
        connection.sendall(HEAD + b"\r\n" + b"x")
        assert http_server.status(body=b"x" * 400) == 200


def test_a_request_without_a_body_is_answered_whatever_is_pending(http_server):
    http_server.start(pending=PendingBytes(100))
    with http_server.connect() as connection:
        connection.sendall(HEAD + b"\r\n" + b"x" * 900)
        assert http_server.held.acquire(timeout=30)
        assert http_server.status() == 200
        assert http_server.status(body=b"") == 200
        assert http_server.status(body=b"x") == 429
        http_server.go.set()
        assert status_of(connection)[0] == 200


def test_a_body_that_does_not_come_leaves_half_the_budget_to_what_is_there(http_server):
    pending = PendingBytes(1000)
    http_server.start(pending=pending)
    with http_server.connect() as connection:
        connection.sendall(HEAD + b"\r\n" + b"x" * 600)
        end = time.monotonic() + 30
        while http_server.status(body=b"x") != 429:
            assert time.monotonic() < end
        with pending.claim(500):
            pass
        with pytest.raises(RequestError), pending.claim(501):
            pass
        connection.sendall(b"x" * 300)
        http_server.go.set()
        assert status_of(connection)[0] == 200


def test_a_body_that_nobody_wants_is_not_waited_for(http_server):
    http_server.start(takes_body=lambda path: path != "/hold")
    http_server.go.set()
    for end in (b"\r\n", b"Expect: 100-continue\r\n\r\n"):
        with http_server.connect() as connection:
            connection.sendall(HEAD + end)
            assert status_of(connection)[0] == 200
            assert connection.recv(1) == b""
