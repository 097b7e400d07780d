"""Connections: how many there may be, and how long one may stay without a complete request.

uvicorn has no limit on connections that send nothing, so a client could open so many of them that no other one gets in.
Here the connection that has been idle for longest makes room for a new one. Only if all of them are busy, the new one
is refused.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["limited_protocol"]

_LINGER_SECONDS = 1.0  # in which the rest of a body is read and dropped after the answer
_MESSAGE = b'{"error": "too many connections; try again in 1 s"}'
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(_MESSAGE), _MESSAGE)
)


class _Connections:
    """All connections of a server, and among them those without a request, longest idle first."""

    def __init__(self, most: int, head_seconds: float) -> None:
        self.most, self.head_seconds = most, head_seconds
        self.all: set[_LimitedProtocol] = set()
        self.idle: dict[_LimitedProtocol, None] = {}


class _LimitedProtocol(H11Protocol):
    """A connection that counts towards the limit of `shared`."""

    shared: ClassVar[_Connections]
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.shared.all.add(self)
        self._wait_for_head()
        if len(self.shared.all) > self.shared.most:
            next(iter(self.shared.idle)).refuse()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self in self.shared.idle and self.conn.their_state is not h11.IDLE:
            self._stop_timer()
            del self.shared.idle[self]

    def on_response_complete(self) -> None:
        unread = self.conn.their_state is h11.SEND_BODY
        super().on_response_complete()
        if self.transport.is_closing():
            self._forget()
        elif unread:  # the client still sends a body that was refused
            self._timer = self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        elif self.conn.their_state is h11.IDLE:
            self._wait_for_head()

    def refuse(self) -> None:
        """Answer 503 and close the connection."""
        self._forget()
        self.transport.write(_REFUSAL)
        self.transport.close()

    def _wait_for_head(self) -> None:
        self.shared.idle.pop(self, None)
        self.shared.idle[self] = None
        self._stop_timer()
        self._timer = self.loop.call_later(self.shared.head_seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._forget()
        self.transport.close()

    def _forget(self) -> None:
        self.shared.all.discard(self)
        self.shared.idle.pop(self, None)
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def limited_protocol(most: int, head_seconds: float) -> type[H11Protocol]:
    """Return a class of connections that share a limit.

    Args:
        most: the number of connections.
        head_seconds: the time in which the head of a request must arrive, and for which a connection stays open after
            an answer.
    """
    return type("LimitedProtocol", (_LimitedProtocol,), {"shared": _Connections(most, head_seconds)})
