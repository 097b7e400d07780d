"""Does a server stay right, fast, flat and polite under load?

    python benchmarks/serving.py states INDEX PHOTOS [requests=10000] [concurrency=32]   answers while the index changes
    python benchmarks/serving.py speed INDEX PHOTOS [requests=2000] [concurrency=32]     beside bare ways to serve
    python benchmarks/serving.py soak INDEX PHOTOS [minutes=30] [concurrency=4]          memory over time
    python benchmarks/serving.py abuse INDEX PHOTOS [connections=10000] [megabytes=1000] clients that misbehave

PHOTOS is a folder of photos that are not indexed: the queries, and the photos that are added. Each job works on a copy
of INDEX, starts servers of its own on this machine, and writes one JSON object to stdout. The client shares the cores
with the server, so figures are lower bounds. The first three take `regions=N verify=0` for lighter searches: N regions
of each photo instead of as many as the index chooses, and no keypoints.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from serving_abuse import abuse
from serving_load import Load, changing, cycle, metric, percentiles
from serving_servers import running

from vitdsi.index import ImageIndex
from vitdsi.photos.find import find_images
from vitdsi.photos.keypoints import detect
from vitdsi.search.options import SearchOptions
from vitdsi.search.queries import photo_queries
from vitdsi.search.searcher import Searcher
from vitdsi.search.verify import (
    QUERY_KEYPOINTS,
    QUERY_SIDE,
    keypoints_for,
    options_for_candidates,
    verify_results,
)

_QUERIES = 100  # different photos that are searched with
_ADDED = 100  # different photos that are added and removed again
_K = 10
_CLOSE = 1e-4  # scores of the same state may differ by this much, as sums in batches have another order
_SAMPLE_SECONDS = 5.0  # between two measurements of memory
_WARM_SHARE = 0.2  # of a soak, before memory is compared
_WAYS = ("/v1/search", "/single", "/bare")


def _asked(options: dict[str, float]) -> SearchOptions:
    """The options of each search."""
    return SearchOptions(
        k=_K, regions=int(options["regions"]) or None, verify=None if options["verify"] else False
    )


def states(index: Path, photos: list[Path], options: dict[str, float]) -> dict[str, Any]:
    """Send requests while images are added and removed, and compare each answer with the state that it names."""
    queries = [path.read_bytes() for path in photos[:_QUERIES]]
    kept = index.parent / "states"
    with running(index, writable=True) as (address, _):

        async def run() -> tuple[Load, Counter[str]]:
            load = Load(address, queries, _asked(options))
            changes: Counter[str] = Counter()
            stop = asyncio.Event()
            changer = asyncio.create_task(changing(address, index, photos[_QUERIES:], kept, changes, stop))
            concurrency = int(options["concurrency"])
            await load.run(int(options["requests"]), concurrency)
            while len(changes) < len(("added", "removed")) and not changer.done():  # on a slow machine
                await load.run(concurrency, concurrency)
            stop.set()
            await changer
            return load, changes

        began = time.perf_counter()
        load, changes = asyncio.run(run())
        seconds = time.perf_counter() - began
    return {
        "requests": len(load.seconds),
        "statuses": dict(load.statuses),
        "requests/s": len(load.seconds) / seconds,
        **percentiles(load.seconds),
        "changes": dict(changes),
        **compare(kept, queries, load.answers, _asked(options)),
    }


def compare(
    kept: Path,
    queries: list[bytes],
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
            if query not in read:  # the backbone and the keypoints are the same in all states
                photo = queries[query]
                points = detect(photo, QUERY_KEYPOINTS, QUERY_SIDE)
                read[query] = *photo_queries(opened.state_, opened.reader, [photo], options), points
            features, regions, points = read[query]
            keypoints = keypoints_for(opened.state_, options)
            wanted = options if keypoints is None else options_for_candidates(options)
            (found,) = searcher.search(features, wanted, regions)
            if keypoints is not None:
                found = verify_results(keypoints, points, found, options)
            expected = [(r.id, r.score) for r in found]
            for given in answers[generation, query]:
                result[agreement(given, expected)] += 1
    return {"states": len(generations), "answers": dict(result)}


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
    queries = [path.read_bytes() for path in photos[:_QUERIES]]
    result: dict[str, Any] = {}
    asked = _asked(options)
    with running(index, writable=False) as (address, _):
        for concurrency in (1, int(options["concurrency"])):
            count = int(options["requests"]) // (10 if concurrency == 1 else 1)
            for path in _WAYS:
                asyncio.run(Load(address, queries, asked, path).run(2 * concurrency, concurrency))  # warm
                load, began = Load(address, queries, asked, path), time.perf_counter()
                asyncio.run(load.run(count, concurrency))
                result[f"{path} x {concurrency}"] = {
                    "requests/s": count / (time.perf_counter() - began),
                    **percentiles(load.seconds),
                    "statuses": dict(load.statuses),
                }
                print(path, concurrency, result[f"{path} x {concurrency}"], file=sys.stderr, flush=True)
        batches, searched = (
            asyncio.run(metric(address, f"vitdsi_batch_size_{name}")) for name in ("count", "sum")
        )
        result["mean batch"] = searched / batches
    return result


def soak(index: Path, photos: list[Path], options: dict[str, float]) -> dict[str, Any]:
    """Search and change the index for minutes; compare the memory of the first and the last fifth after warming up."""
    queries = [path.read_bytes() for path in photos[:_QUERIES]]
    seconds = 60 * options["minutes"]
    with running(index, writable=True) as (address, _):

        async def run() -> tuple[Load, list[float], Counter[str]]:
            load, memory, changes = Load(address, queries, _asked(options)), list[float](), Counter[str]()
            stop = asyncio.Event()
            searching = asyncio.create_task(cycle(load, int(options["concurrency"])))
            changer = asyncio.create_task(changing(address, index, photos[_QUERIES:], None, changes, stop))
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                await asyncio.sleep(_SAMPLE_SECONDS)
                memory.append(await metric(address, "vitdsi_memory_bytes"))
                print(
                    f"{memory[-1] / 1e6:.0f} MB",
                    dict(load.statuses),
                    dict(changes),
                    file=sys.stderr,
                    flush=True,
                )
            stop.set()
            await changer
            searching.cancel()
            await asyncio.gather(searching, return_exceptions=True)
            return load, memory, changes

        load, memory, changes = asyncio.run(run())
    warm = np.array(memory[int(_WARM_SHARE * len(memory)) :]) / 1e6
    first, last = (float(np.median(part)) for part in (warm[: len(warm) // 5 + 1], warm[-len(warm) // 5 :]))
    return {
        "minutes": options["minutes"],
        "statuses": dict(load.statuses),
        "changes": dict(changes),
        **percentiles(load.seconds),
        "MB first": first,
        "MB last": last,
        "MB most": float(warm.max()),
        "growth": last / first - 1,
    }


_SEARCH = {"regions": 0.0, "verify": 1.0}  # as many regions as the index chooses
_JOBS: dict[str, tuple[Callable[[Path, list[Path], dict[str, float]], dict[str, Any]], dict[str, float]]] = {
    "states": (states, {"requests": 10_000, "concurrency": 32, **_SEARCH}),
    "speed": (speed, {"requests": 2000, "concurrency": 32, **_SEARCH}),
    "soak": (soak, {"minutes": 30, "concurrency": 4, **_SEARCH}),
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
