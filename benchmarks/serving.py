"""Does a server stay right, fast, flat and polite under load?

    python benchmarks/serving.py states INDEX PHOTOS [requests=10000] [minutes=30] [concurrency=32] [ids=0]
    python benchmarks/serving.py speed INDEX PHOTOS [requests=2000] [concurrency=32]
    python benchmarks/serving.py abuse INDEX PHOTOS [connections=10000] [megabytes=1000]

`states` searches while images are added and removed, compares each answer with the state that it names, and the memory
of the first and the last fifth after warming up. It goes on until both the requests and the minutes have passed.
`speed` measures searches beside two bare ways to serve. `abuse` lets clients misbehave while others search.

PHOTOS is a folder of photos that are not indexed: the queries, and the photos that are added. Each job works on a copy
of INDEX, starts servers of its own on this machine, and writes one JSON object to stdout. The client shares the cores
with the server, so figures are lower bounds. `states` and `speed` take `regions=N verify=0` for lighter searches: N
regions of each photo instead of as many as the index chooses, and no keypoints; `states` takes `ids=N` for N searches
with an image of the index for each one with a photo.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from serving_abuse import abuse
from serving_load import Load, Query, changing, metric, percentiles
from serving_servers import running
from torch import Tensor

from vitdsi.index import ImageIndex
from vitdsi.photos.find import find_images
from vitdsi.photos.keypoints import PhotoKeypoints, detect_in_query
from vitdsi.photos.regions import Region
from vitdsi.search.options import SearchOptions, SearchResult
from vitdsi.search.queries import photo_queries
from vitdsi.search.searcher import Searcher
from vitdsi.search.verify import (
    keypoints_for,
    options_for_candidates,
    verify_results,
)
from vitdsi.state import IndexState

_QUERIES = 100  # different photos that are searched with
_ADDED = 100  # different photos that are added and removed again
_K = 10
_CLOSE = 1e-4  # scores of the same state may differ by this much, as sums in batches have another order
_SAMPLE_SECONDS = 5.0  # between two measurements of memory
_WARM_SHARE = 0.2  # of a soak, before memory is compared
_WAYS = ("/v1/search", "/single", "/bare")
_ROUNDS = 5  # in which the ways take turns, since other processes may slow one of them down


def _asked(options: dict[str, float]) -> SearchOptions:
    """The options of each search."""
    return SearchOptions(
        k=_K, regions=int(options["regions"]) or None, verify=None if options["verify"] else False
    )


def states(index: Path, photos: list[Path], options: dict[str, float]) -> dict[str, Any]:
    """Send requests while images are added and removed, and compare each answer with the state that it names."""
    queries: list[Query] = [path.read_bytes() for path in photos[:_QUERIES]]
    images = ImageIndex.load(index).trie_.live_ids().tolist()
    queries += [images[i % len(images)] for i in range(int(options["ids"]) * len(queries))]
    queries = [queries[i] for i in np.random.default_rng(0).permutation(len(queries))]
    kept, asked = index.parent / "states", _asked(options)
    requests, concurrency = int(options["requests"]), int(options["concurrency"])
    with running(index, writable=True) as (address, _):

        async def run() -> tuple[Load, list[float], Counter[str]]:
            load, memory, changes = Load(address, queries, asked), list[float](), Counter[str]()
            stop = asyncio.Event()
            changer = asyncio.create_task(changing(address, index, photos[_QUERIES:], kept, changes, stop))
            watcher = asyncio.create_task(_watch(address, memory, load, changes))
            end = time.monotonic() + 60 * options["minutes"]
            await load.run(requests, concurrency)
            while time.monotonic() < end or (not changes["removed 200"] and not changer.done()):
                await load.run(concurrency, concurrency)
            watcher.cancel()
            stop.set()
            await changer
            return load, memory, changes

        began = time.perf_counter()
        load, memory, changes = asyncio.run(run())
        seconds = time.perf_counter() - began
    return {
        "requests": len(load.seconds),
        "seconds": seconds,
        "statuses": dict(load.statuses),
        "requests/s": len(load.seconds) / seconds,
        **percentiles(load.seconds),
        "changes": dict(changes),
        **flatness(memory),
        **compare(kept, queries, load.answers, asked),
    }


async def _watch(address: str, memory: list[float], load: Load, changes: Counter[str]) -> None:
    """Measure the memory of the server until it is cancelled."""
    while True:
        with contextlib.suppress(httpx.HTTPError):
            memory.append(await metric(address, "vitdsi_memory_bytes"))
            shown = f"{memory[-1] / 1e6:.0f} MB", dict(load.statuses), dict(changes)
            print(*shown, file=sys.stderr, flush=True)
        await asyncio.sleep(_SAMPLE_SECONDS)


def flatness(memory: list[float]) -> dict[str, float]:
    """Compare the memory of the first and the last fifth after warming up, in MB."""
    warm = np.array(memory[int(_WARM_SHARE * len(memory)) :]) / 1e6
    first, last = (
        float(np.median(part)) for part in (warm[: len(warm) // 5 + 1], warm[-(len(warm) // 5 + 1) :])
    )
    return {"MB first": first, "MB last": last, "MB most": float(warm.max()), "growth": last / first - 1}


def compare(
    kept: Path,
    queries: list[Query],
    answers: dict[tuple[int, int], list[list[tuple[int, float]]]],
    options: SearchOptions,
) -> dict[str, Any]:
    """Compare the answers, by (generation, query), with searches of one photo alone in the kept states."""
    result: Counter[str] = Counter()
    generations = sorted({generation for generation, _ in answers})
    read = dict[int, Any]()
    for generation in generations:
        opened = ImageIndex.load(kept / f"{generation}.dsi")
        searcher = Searcher(opened.state_)
        for query in sorted(query for g, query in answers if g == generation):
            given = queries[query]
            if isinstance(given, int):
                found = searcher.more_like(given, options)
            else:
                if query not in read:  # the backbone and the keypoints are the same in all states
                    points = detect_in_query(given)
                    read[query] = *photo_queries(opened.state_, opened.reader, [given], options), points
                found = _search(opened.state_, searcher, *read[query], options)
            expected = [(r.id, r.score) for r in found]
            for answer in answers[generation, query]:
                result[agreement(answer, expected)] += 1
    return {"states": len(generations), "answers": dict(result)}


def _search(
    state: IndexState,
    searcher: Searcher,
    features: Tensor,
    regions: list[list[Region]],
    points: PhotoKeypoints,
    options: SearchOptions,
) -> list[SearchResult]:
    """Search for one photo alone."""
    keypoints = keypoints_for(state, options)
    if keypoints is None:
        return searcher.search(features, options, regions)[0]
    (found,) = searcher.search(features, options_for_candidates(options), regions, to_verify=True)
    return verify_results(keypoints, points, found, options)


def agreement(given: list[tuple[int, float]], expected: list[tuple[int, float]]) -> str:
    """Say whether two answers are the same: equal, equal but for the order of ties, or different."""
    scores, expected_scores = dict(given), dict(expected)
    if scores.keys() != expected_scores.keys():
        return "different"
    if any(abs(score - expected_scores[i]) > _CLOSE for i, score in given):
        return "different"
    return "equal" if list(scores) == list(expected_scores) else "equal but for ties"


def speed(index: Path, photos: list[Path], options: dict[str, float]) -> dict[str, Any]:
    """Measure throughput and latency of searches, of one forward for each request, and of the backbone alone."""
    queries: list[Query] = [path.read_bytes() for path in photos[:_QUERIES]]
    result: dict[str, Any] = {}
    asked = _asked(options)
    with running(index, writable=False) as (address, _):
        for concurrency in (1, int(options["concurrency"])):
            count = int(options["requests"]) // (10 if concurrency == 1 else 1) // _ROUNDS
            loads = {way: Load(address, queries, asked, way) for way in _WAYS}
            rates: dict[str, list[float]] = {way: [] for way in _WAYS}
            for way in _WAYS:
                asyncio.run(Load(address, queries, asked, way).run(2 * concurrency, concurrency))  # warm
            for _ in range(_ROUNDS):
                for way, load in loads.items():
                    began = time.perf_counter()
                    asyncio.run(load.run(count, concurrency))
                    rates[way].append(count / (time.perf_counter() - began))
            for way, load in loads.items():
                result[f"{way} x {concurrency}"] = {
                    "requests/s": float(np.median(rates[way])),
                    "of the bare backbone": float(np.median(np.divide(rates[way], rates["/bare"]))),
                    **percentiles(load.seconds),
                    "statuses": dict(load.statuses),
                }
                print(way, concurrency, result[f"{way} x {concurrency}"], file=sys.stderr, flush=True)
        batches, searched = (
            asyncio.run(metric(address, f"vitdsi_batch_size_{name}")) for name in ("count", "sum")
        )
        result["mean batch"] = searched / batches
    return result


_SEARCH = {"regions": 0.0, "verify": 1.0}  # as many regions as the index chooses
_JOBS: dict[str, tuple[Callable[[Path, list[Path], dict[str, float]], dict[str, Any]], dict[str, float]]] = {
    "states": (states, {"requests": 10_000, "minutes": 30, "concurrency": 32, "ids": 0, **_SEARCH}),
    "speed": (speed, {"requests": 2000, "concurrency": 32, **_SEARCH}),
    "abuse": (abuse, {"connections": 10_000, "megabytes": 1000}),
}


def main(arguments: list[str]) -> None:
    """Run the job that the arguments name on a copy of the index."""
    job, index, photos, *given = arguments
    run, options = _JOBS[job]
    for text in given:
        name, _, value = text.partition("=")
        options[name] = float(value)
    found = find_images(Path(photos))
    some = [found[i] for i in np.random.default_rng(0).permutation(len(found))[: _QUERIES + _ADDED]]
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(shutil.copytree(index, Path(folder) / "index.dsi"))
        print(json.dumps({"job": job, **options, **run(copied, some, options)}, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
