"""Limits on what clients send: the size of a body, of all bodies together, and the time they may take."""

from __future__ import annotations

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vitdsi.serving.errors import ApiError, answer, busy
from vitdsi.serving.settings import ServerSettings

__all__ = ["BodyLimit"]


class BodyLimit:
    """Refuses bodies that are too large, too slow or too many, while they arrive: `Content-Length` may lie.

    Raises, in the `receive` that it passes on:
        ApiError: 413 for a body that is too large, 429 if there is no room for it, 408 if it takes too long.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._largest, self._room = settings.max_body_bytes, settings.max_bodies_bytes
        self._seconds = settings.body_timeout
        self._held = 0  # bytes of all bodies in progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self._largest:
            await answer(self._too_large())(scope, receive, send)
            return
        size, complete = 0, False
        deadline = anyio.current_time() + self._seconds

        async def limited() -> Message:
            nonlocal size, complete
            if complete:  # what follows is only that the client hangs up
                return await receive()
            with anyio.move_on_after(deadline - anyio.current_time()):
                message = await receive()
                if message["type"] == "http.request":
                    part = len(message.get("body", b""))
                    size += part
                    self._held += part
                    complete = not message.get("more_body", False)
                    if size > self._largest:
                        raise self._too_large()
                    if self._held > self._room:
                        raise busy("the bodies of other requests fill the memory that is set apart for them")
                return message
            raise ApiError(408, f"the body did not arrive within {self._seconds:g} s")

        async def sending(message: Message) -> None:
            with anyio.fail_after(self._seconds):
                await send(message)

        try:
            await self._app(scope, limited, sending)
        finally:
            self._held -= size

    def _too_large(self) -> ApiError:
        return ApiError(
            413, f"the body is larger than the limit of {self._largest} bytes; send a smaller image"
        )
