"""Clients of `serving.py` that misbehave, while others search as usual."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from serving_load import Load, Query, metric, percentiles
from serving_servers import running

from vitdsi.search.options import SearchOptions

_CLIENTS = 50  # of each kind but open connections
_UPLOADS = 4
_CHUNK = b"x" * (1 << 20)
_SECONDS = 15.0  # for which connections stay open
_PAUSE = 0.1  # seconds between usual searches
_USUAL = 10  # searches that are waited for, beside each kind


def abuse(index: Path, photos: list[Path], options: dict[str, float]) -> dict[str, Any]:
    """Let clients misbehave in one way after the other, and measure usual searches meanwhile."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    queries: list[Query] = [path.read_bytes() for path in photos[:20]]
    connections, megabytes = int(options["connections"]), int(options["megabytes"])
    ways: dict[str, Callable[[str, int], Awaitable[Counter[str]]]] = {
        "nothing": _nothing,
        "slow heads": _slow_heads,
        "slow bodies": _slow_bodies,
        "cut bodies": _cut_bodies,
        "wrong lengths": _wrong_lengths,
        f"{megabytes} MB declared": lambda host, port: _uploads(host, port, megabytes, declared=True),
        f"{megabytes} MB in chunks": lambda host, port: _uploads(host, port, megabytes, declared=False),
        f"{connections} open connections": lambda host, port: _open(host, port, connections),
    }
    result: dict[str, Any] = {}
    with running(index, writable=False) as (address, _):
        host, _, port = address.removeprefix("http://").partition(":")
        for name, way in ways.items():
            before = asyncio.run(metric(address, "vitdsi_memory_bytes"))

            async def run(
                way: Callable[[str, int], Awaitable[Counter[str]]] = way,
            ) -> tuple[Counter[str], Load]:
                load = Load(address, queries, SearchOptions())
                usual = asyncio.create_task(_usual(load))
                outcome = await way(host, int(port))
                while len(load.seconds) < _USUAL:
                    await asyncio.sleep(_PAUSE)
                usual.cancel()
                await asyncio.gather(usual, return_exceptions=True)
                return outcome, load

            outcome, load = asyncio.run(run())
            after = asyncio.run(metric(address, "vitdsi_memory_bytes"))
            result[name] = {
                "outcome": dict(outcome),
                "usual searches": {"statuses": dict(load.statuses), **percentiles(load.seconds)},
                "MB more": (after - before) / 1e6,
            }
    return result


async def _usual(load: Load) -> None:
    """Search now and then, each time through a new connection."""
    while True:
        await load.run(1, 1)
        await asyncio.sleep(_PAUSE)


async def _nothing(host: str, port: int) -> Counter[str]:
    await asyncio.sleep(_SECONDS / 2)
    return Counter()


def _head(length: object) -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = ["POST /v1/search HTTP/1.1", "Host: 127.0.0.1", "Content-Type: image/jpeg", size, "", ""]
    return "\r\n".join(lines).encode()


async def _exchange(
    host: str, port: int, parts: list[bytes], pause: float = 0.0, *, wait: float = _SECONDS
) -> str:
    """Send parts with a pause before each, and return the status of the answer, or how the connection ended."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
        with contextlib.closing(writer):
            answer = asyncio.create_task(reader.readline())  # while it sends, as browsers and curl do
            with contextlib.suppress(
                ConnectionError
            ):  # the server has answered already, or closed the connection
                for part in parts:
                    await asyncio.sleep(pause)
                    if answer.done():
                        break
                    writer.write(part)
                    await writer.drain()
            if wait == 0:
                answer.cancel()
                return "left"
            line = await asyncio.wait_for(answer, wait)
            return line.split(b" ")[1].decode() if line else "closed"
    except ConnectionError:
        return "closed"
    except (OSError, asyncio.TimeoutError) as error:
        return type(error).__name__


async def _all(exchanges: list[Awaitable[str]]) -> Counter[str]:
    return Counter(await asyncio.gather(*exchanges))


async def _slow_heads(host: str, port: int) -> Counter[str]:
    """A byte of the head each second."""
    parts = [bytes([byte]) for byte in _head(10)[: int(_SECONDS)]]
    return await _all([_exchange(host, port, parts, 1.0) for _ in range(_CLIENTS)])


async def _slow_bodies(host: str, port: int) -> Counter[str]:
    """A byte of the body each second."""
    parts = [_head(1000), *[b"x"] * int(_SECONDS)]
    return await _all([_exchange(host, port, parts, 1.0, wait=60.0) for _ in range(_CLIENTS)])


async def _cut_bodies(host: str, port: int) -> Counter[str]:
    """Half of the body, and gone."""
    return await _all(
        [_exchange(host, port, [_head(1000), b"x" * 500], wait=0) for _ in range(20 * _CLIENTS)]
    )


async def _wrong_lengths(host: str, port: int) -> Counter[str]:
    lengths: list[object] = [-1, "x", "1, 2", 10**30, 5, 0]
    return await _all([_exchange(host, port, [_head(length), b"x" * 1000]) for length in lengths * _CLIENTS])


async def _uploads(host: str, port: int, megabytes: int, *, declared: bool) -> Counter[str]:
    """Uploads far beyond the limit."""
    if declared:
        parts = [_head(megabytes << 20), *[_CHUNK] * megabytes]
    else:
        parts = [_head(None), *[b"%x\r\n%b\r\n" % (len(_CHUNK), _CHUNK)] * megabytes]
    return await _all([_exchange(host, port, parts) for _ in range(_UPLOADS)])


async def _open(host: str, port: int, count: int) -> Counter[str]:
    """Connections that send nothing, and stay."""
    outcome: Counter[str] = Counter()
    writers = []
    readers = []
    for _ in range(count):
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 10)
        except (OSError, asyncio.TimeoutError) as error:
            outcome[type(error).__name__] += 1
            continue
        readers.append(reader)
        writers.append(writer)
    outcome["opened"] = len(writers)
    end = time.monotonic() + _SECONDS / 3
    await asyncio.sleep(max(0.0, end - time.monotonic()))
    for reader in readers:
        if reader.at_eof() or len(getattr(reader, "_buffer", b"")):
            line = await reader.readline()
            outcome[line.split(b" ")[1].decode() if line else "closed"] += 1
    for writer in writers:
        writer.close()
    return outcome
