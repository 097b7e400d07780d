"""Running a server: a socket, uvicorn, and threads that share the cores."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable

import torch
import uvicorn
from fastapi import FastAPI

from vitdsi.errors import UsageError
from vitdsi.serving.connections import limited_protocol

__all__ = ["open_socket", "serve"]

_HEAD_SECONDS = 10.0  # in which the head of a request must arrive
_KEEP_ALIVE_SECONDS = 30  # for which a connection stays open between requests
_SHUTDOWN_SECONDS = 30  # in which requests in progress may end after Ctrl-C or SIGTERM
_BACKLOG = 2048
_SPARE_FILES = 128  # open files beside connections


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises:
        UsageError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{host}, port {port}: cannot be used ({reason}); choose another with --host and --port"
        ) from error


def serve(
    app: FastAPI,
    listening: socket.socket,
    *,
    workers: int,
    max_connections: int,
    on_start: Callable[[], None] = lambda: None,
) -> None:
    """Answer requests until the process is interrupted (SIGINT) or terminated (SIGTERM).

    Requests in progress are then answered, and no new ones are taken.

    Args:
        app: the application.
        listening: the socket that it listens on.
        workers: the number of threads that compute at the same time. Each gets its share of the cores.
        max_connections: the number of open connections.
        on_start: is called when requests are answered.
    """
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    config = uvicorn.Config(
        app,
        http=limited_protocol(min(max_connections, _open_files() - _SPARE_FILES), _HEAD_SECONDS),
        ws="none",
        log_level="error",  # a request that is not HTTP is a warning, and would fill the log
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    server = _Server(config, on_start)
    server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """A server that says when it has started."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_start()


def _open_files() -> int:
    """Allow this process as many open files as the system lets it, and return their number."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit
        return 4096
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return max(2 * _SPARE_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
