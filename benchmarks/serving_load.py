"""Clients of `serving.py`: searches in parallel, and changes of the index meanwhile."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections import Counter, defaultdict
from pathlib import Path
from urllib.parse import urlencode

import httpx
import numpy as np

from vitdsi.cli.changing import changing as open_for_change
from vitdsi.search.options import SearchOptions

_TIMEOUT = httpx.Timeout(120.0)
_CHANGE_TIMEOUT = httpx.Timeout(600.0)
_KEPT = 20  # images that were added and not yet removed
_IMAGE = {"content-type": "image/jpeg"}
_PAUSE = 0.5  # seconds between changes


Query = bytes | int
"""An encoded photo, or the id of an image of the index."""


class Load:
    """Searches that were sent, and what was answered.

    Attributes:
        seconds: the latency of each answer.
        statuses: how often each status was answered; exceptions count under their name.
        answers: results (id, score) by generation and query.
    """

    def __init__(
        self, address: str, queries: list[Query], options: SearchOptions, path: str = "/v1/search"
    ) -> None:
        given = {"k": options.k, "regions": options.regions, "verify": options.verify}
        asked = {name: value for name, value in given.items() if value is not None}
        self._url, self._queries = f"{address}{path}?{urlencode(asked)}", queries
        self.seconds: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.answers: defaultdict[tuple[int, int], list[list[tuple[int, float]]]] = defaultdict(list)
        self._sent = 0

    async def run(self, count: int, concurrency: int) -> None:
        """Send `count` requests, `concurrency` at a time."""
        end = self._sent + count
        async with httpx.AsyncClient(timeout=_TIMEOUT) as client:

            async def worker() -> None:
                while self._sent < end:
                    self._sent += 1
                    await self.one(client, self._sent % len(self._queries))

            await asyncio.gather(*(worker() for _ in range(concurrency)))

    async def one(self, client: httpx.AsyncClient, query: int) -> None:
        """Send one request, and again after the pause that a refusal with 429 asks for."""
        given = self._queries[query]
        while True:
            began = time.perf_counter()
            try:
                if isinstance(given, int):
                    answer = await client.get(f"{self._url}&id={given}")
                else:
                    answer = await client.post(self._url, content=given, headers=_IMAGE)
            except httpx.HTTPError as error:
                self.statuses[type(error).__name__] += 1
                return
            self.statuses[str(answer.status_code)] += 1
            if answer.status_code == 429:
                await asyncio.sleep(float(answer.headers["retry-after"]))
                continue
            self.seconds.append(time.perf_counter() - began)
            found = answer.json()
            if "generation" in found:
                results = [(result["id"], result["score"]) for result in found["results"]]
                self.answers[found["generation"], query].append(results)
            return


async def changing(
    address: str,
    index: Path,
    photos: list[Path],
    kept: Path,
    changes: Counter[str],
    stop: asyncio.Event,
) -> None:
    """Add photos, and remove them again, until it is told to stop. Each state is copied to the folder `kept`.

    Every other removal is made on disk, past the server, as another process does.
    """

    def keep(generation: int) -> None:
        shutil.copytree(index, kept / f"{generation}.dsi")

    there: list[str] = []
    async with httpx.AsyncClient(timeout=_CHANGE_TIMEOUT) as client:
        keep((await client.get(f"{address}/v1/info")).json()["generation"])
        while not stop.is_set():
            for photo in photos:
                if stop.is_set():
                    break
                added = await client.post(
                    f"{address}/v1/images",
                    params={"image_id": f"added/{photo.name}"},
                    content=photo.read_bytes(),
                    headers=_IMAGE,
                )
                changes[f"added {added.status_code}"] += 1
                if added.status_code == 200:
                    there += added.json()["added"]
                    await asyncio.to_thread(keep, added.json()["generation"])
                if len(there) > _KEPT or (there and changes["added 200"] % 2 == 0):
                    if changes["removed on disk"] < changes["removed 200"]:
                        changes["removed on disk"] += 1
                        generation = await asyncio.to_thread(_remove, index, there.pop(0))
                        await asyncio.to_thread(keep, generation)
                    else:
                        removed = await client.delete(f"{address}/v1/images/{there.pop(0)}")
                        changes[f"removed {removed.status_code}"] += 1
                        if removed.status_code == 200:
                            await asyncio.to_thread(keep, removed.json()["generation"])
                await asyncio.sleep(_PAUSE)


def _remove(index: Path, image_id: str) -> int:
    """Remove an image from an index on disk, and return the generation that was written."""
    with open_for_change(index) as opened:
        opened.remove([image_id])
    return opened.state_.generation


async def metric(address: str, name: str) -> float:
    """The value of a metric of the server."""
    async with httpx.AsyncClient(timeout=_TIMEOUT) as client:
        text = (await client.get(f"{address}/metrics")).text
    match = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert match, name
    return float(match[1])


def percentiles(seconds: list[float]) -> dict[str, float]:
    """The median and the 99th percentile, in milliseconds."""
    return {f"p{q} ms": float(1000 * np.percentile(seconds, q)) for q in (50, 99)} if seconds else {}
