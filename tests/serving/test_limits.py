"""Limits on bodies, whatever their headers say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from vitdsi.serving.errors import ApiError, answer
from vitdsi.serving.limits import BodyLimit
from vitdsi.serving.settings import ServerSettings


async def _measuring(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers with the length of the body."""
    try:
        body = await Request(scope, receive).body()
    except ApiError as error:
        await answer(error)(scope, receive, send)
        return
    await PlainTextResponse(str(len(body)))(scope, receive, send)


async def _post(
    limited: BodyLimit, chunks: Iterable[bytes], declared: str | None = None, wait: float = 0.0
) -> tuple[int, str, int]:
    """Send chunks; return status, text, and how many chunks were taken."""
    sent: list[Message] = []
    taken = 0

    async def body() -> AsyncIterator[Message]:
        nonlocal taken
        for chunk in chunks:
            await asyncio.sleep(wait)
            taken += 1
            yield {"type": "http.request", "body": chunk, "more_body": True}
        yield {"type": "http.request", "body": b"", "more_body": False}

    messages = body()

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [] if declared is None else [(b"content-length", declared.encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    await limited(scope, messages.__anext__, send)
    return sent[0]["status"], sent[1]["body"].decode(), taken


def _limited(**options: Any) -> BodyLimit:
    return BodyLimit(_measuring, ServerSettings(Path("photos.dsi"), **options))


def test_a_body_within_the_limit_passes() -> None:
    assert asyncio.run(_post(_limited(max_body_bytes=10), [b"12345"] * 2)) == (200, "10", 2)


def test_a_declared_length_above_the_limit_is_refused_before_the_body_is_read() -> None:
    status, text, taken = asyncio.run(_post(_limited(max_body_bytes=10), [b"12345"] * 3, declared="15"))
    assert (status, taken) == (413, 0)
    assert "limit of 10 bytes" in json.loads(text)["error"]


@pytest.mark.parametrize("declared", [None, "5", "nonsense"])
def test_a_body_that_exceeds_its_declared_length_is_refused_while_it_arrives(declared: str | None) -> None:
    status, _, taken = asyncio.run(_post(_limited(max_body_bytes=10), [b"12345"] * 1000, declared=declared))
    assert (status, taken) == (413, 3)


def test_a_slow_body_is_given_up() -> None:
    status, text, _ = asyncio.run(_post(_limited(body_timeout=0.05), [b"1"] * 100, wait=0.02))
    assert status == 408
    assert "within 0.05 s" in text


def test_all_bodies_together_are_limited_and_their_room_is_given_back() -> None:
    limited = _limited(max_bodies_bytes=15)

    async def run() -> None:
        results = await asyncio.gather(*(_post(limited, [b"1234"] * 3, wait=0.01) for _ in range(2)))
        assert sorted(status for status, _, _ in results) == [200, 429]
        assert (await _post(limited, [b"1234"] * 3))[0] == 200

    asyncio.run(run())
