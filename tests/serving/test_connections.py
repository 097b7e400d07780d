"""Connections on a real socket: too many, too slow, cut, and bodies that are refused."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from vitdsi.serving import create_app
from vitdsi.serving.connections import limited_protocol

_LIMIT = 4


@pytest.fixture(scope="module")
def port(dsi: Path) -> Iterator[int]:
    """The port of a server that takes few connections, waits half a second, and takes bodies of 100 kB."""
    app = create_app(dsi, workers=1, device="cpu", max_body_bytes=100_000, body_timeout=0.5)
    config = uvicorn.Config(
        app, http=limited_protocol(_LIMIT, 0.5), ws="none", port=0, log_level="error", lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def _get(port: int, path: str = "/healthz") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status


def _all(connection: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    connection.settimeout(10)
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


def _open(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def test_idle_connections_make_room_for_new_ones(port: int) -> None:
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(_open(port)) for _ in range(3 * _LIMIT)]
        assert _get(port) == 200
        first = _all(idle[0])
        assert first.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in first
        assert b'{"error"' in first


def test_a_head_that_does_not_arrive_is_given_up(port: int) -> None:
    with _open(port) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        assert _all(slow) == b""  # closed


def test_a_body_that_does_not_arrive_is_given_up(port: int) -> None:
    with _open(port) as slow:
        slow.sendall(_head(1000))
        slow.sendall(b"x")
        assert _all(slow).startswith(b"HTTP/1.1 408")
    assert _get(port) == 200


def test_a_cut_body_harms_nobody(port: int) -> None:
    with _open(port) as cut:
        cut.sendall(_head(1000) + b"x")
    assert _get(port) == 200


@pytest.mark.parametrize("length", ["-1", "x", "5, 6", "1" * 30])
def test_a_length_that_is_none_is_refused(port: int, length: str) -> None:
    with _open(port) as wrong:
        wrong.sendall(_head(length) + b"x" * 100)
        assert _all(wrong).split(b" ", 2)[1] in (b"400", b"413")
    assert _get(port) == 200


def test_a_body_beyond_the_limit_is_refused_while_it_is_sent(port: int) -> None:
    chunk = b"%x\r\n%b\r\n" % (50_000, b"x" * 50_000)
    with _open(port) as large:
        large.sendall(_head(None))
        sent = 0
        with contextlib.suppress(ConnectionError, TimeoutError):
            for _ in range(10):
                large.sendall(chunk)
                sent += 1
        assert b"HTTP/1.1 413" in _all(large)
    assert _get(port) == 200


def test_a_connection_is_used_again_after_an_answer(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        for _ in range(3):
            connection.request("GET", "/v1/search?id=0")
            response = connection.getresponse()
            assert response.status == 200
            response.read()


def _head(length: object) -> bytes:
    """The head of a search with a body of some length; None sends the body in chunks."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = ["POST /v1/search HTTP/1.1", "Host: 127.0.0.1", "Content-Type: image/png", size, "", ""]
    return "\r\n".join(lines).encode()
