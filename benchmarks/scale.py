"""How does an index behave from a thousand images to a million? Bytes, times and quality beside FAISS.

    python benchmarks/scale.py FOLDER ... [sizes=1000,10000,100000] [queries=1000] [key=value ...]

Collections are derived from the features of the photos in the folders (`scale_data.py` says how), so that no backbone
runs: what is measured is everything else. For each size, one JSON line on stdout has the seconds of each phase of the
build and its peak memory, the bytes an image by part of the index, the time to open it, the time and the quality of a
search for altered copies on one thread, the times to remove, to add and to build a filter, and the same quality, times
and bytes of FAISS indexes of the same features. Each size is measured in a process of its own. Peers hold half-whitened
roots of the features, which are the best simple vectors for copies.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scale_data import Derived, derive, real_photos
from torch import Tensor

from vitdsi.collection.build import learn
from vitdsi.collection.resolve import resolve_config
from vitdsi.collection.storage import read_index, sizes, write_index
from vitdsi.columns.hashes import ContentHashes
from vitdsi.columns.names import Names
from vitdsi.config import load_config
from vitdsi.facts.store import MetadataStore
from vitdsi.ids.assign import assign_ids
from vitdsi.model.axes import principal_axes
from vitdsi.model.initialise import make_model
from vitdsi.model.pictures import signed_root
from vitdsi.search.best_first import best_first_search
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank
from vitdsi.state import BuildReport, IndexState
from vitdsi.training.alterations import Alterations, imagine_alterations

_HELD_OUT = 64
_TIMED = 200  # searches whose times are measured one by one
_PEER_WIDTH = 384
_TRAINED_ON = 20_000  # vectors that peers learn their codebooks from, at most
_SETTINGS = ("training.hard_views=0", "keypoints=0", "device=cpu")


class Phases:
    """Seconds of each phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        self.seconds[name] = round(time.perf_counter() - started, 3)
        print(f"{name}: {self.seconds[name]} s", file=sys.stderr, flush=True)
        return result


def build(given: Derived, overrides: list[str], phases: Phases) -> IndexState:
    """Build an index of features without photos, in the steps of `vitdsi.collection.build`."""
    requested = load_config(overrides=[*_SETTINGS, *overrides])
    features, count = given.features, len(given.features)
    config = resolve_config(requested, count)
    trie = phases.run("ids", lambda: assign_ids(config, features, None))
    model = phases.run("closed forms", lambda: make_model(config.model, trie, features, config.seed))
    known = Alterations(given.differences, torch.arange(0), features[:0].float())
    held = imagine_alterations(config, features, given.differences, torch.arange(count)[-_HELD_OUT:])
    alterations = replace(known, rows=held.rows, inputs=held.inputs)
    state = IndexState(
        requested, config, model, trie, Names.of(map(str, range(count))), None,
        ContentHashes.of([f"{i + 1:016x}" for i in range(count)]),
        features, None, given.differences, MetadataStore.create({}), BuildReport(count),
    )  # fmt: skip
    state = phases.run("training and calibration", lambda: learn(state, None, alterations))
    return replace(state, features=None)


def milliseconds(search: Callable[[Tensor], object], queries: Tensor) -> dict[str, float]:
    """The median and the 99th percentile of the times of single queries."""
    times = []
    for query in queries[:_TIMED].split(1):
        started = time.perf_counter()
        search(query)
        times.append(1000 * (time.perf_counter() - started))
    return {"p50 ms": round(float(np.median(times)), 3), "p99 ms": round(float(np.quantile(times, 0.99)), 3)}


def measure_search(state: IndexState, given: Derived) -> dict[str, Any]:
    """Copies at rank 1 and 10, times of a search, and expansions."""
    options, found, expansions = SearchOptions(k=10), [], []
    for part in given.queries.split(64):
        found.append(torch.from_numpy(rank(state, part, options).ids))
        with torch.inference_mode():
            memory, embedding = state.model.encode(part)
            expansions.append(best_first_search(state.model, memory, embedding, state.trie, 24).expansions)
    hits = torch.cat(found) == given.own[:, None]
    return {
        "copies@1": round(float(hits[:, 0].float().mean()), 4),
        "copies@10": round(float(hits.any(1).float().mean()), 4),
        "expansions": float(torch.cat(expansions).float().mean()),
        **milliseconds(lambda query: rank(state, query, options), given.queries),
    }


def measure_opening(path: Path) -> dict[str, float]:
    """Seconds to open the index and to build a filter of 1 %."""
    phases = Phases()
    opened = phases.run("open s", lambda: read_index(path))
    rng = np.random.default_rng(0)
    allowed = np.sort(rng.permutation(len(opened.trie.codes))[: max(1, len(opened.trie.codes) // 100)])
    phases.run("filter of 1 % s", lambda: opened.trie.restrict(allowed))
    return phases.seconds


def measure_peers(given: Derived) -> dict[str, Any]:
    """FAISS indexes of half-whitened roots: quality, times on one thread, and bytes an image."""
    import faiss

    faiss.omp_set_num_threads(1)
    sample = given.features[torch.randperm(len(given.features))[:20_000]]
    roots = signed_root(sample.float())
    mean = roots.mean(0)
    variances, axes = principal_axes(roots - mean, _PEER_WIDTH)
    weight = axes * (variances + 0.3 * (roots - mean).square().mean())[:, None].pow(-0.375)

    def embed(features: Tensor) -> np.ndarray:
        parts = [(signed_root(part.float()) - mean) @ weight.T for part in features.split(20_000)]
        return torch.nn.functional.normalize(torch.cat(parts), dim=1).numpy()

    vectors, asked = embed(given.features), embed(given.queries)
    count = len(vectors)
    lists = round(count**0.5)
    kinds = {
        "flat": "Flat",
        "HNSW": "HNSW32,Flat",
        "IVF-PQ 64 bytes": f"IVF{lists},PQ64",
        "OPQ 32 bytes": f"OPQ32_256,IVF{lists},PQ32",
    }
    results: dict[str, Any] = {}
    for name, factory in kinds.items():
        index = faiss.index_factory(_PEER_WIDTH, factory, faiss.METRIC_INNER_PRODUCT)
        started = time.perf_counter()
        index.train(vectors[np.random.default_rng(0).permutation(count)[:_TRAINED_ON]])
        shared = len(faiss.serialize_index(index))
        index.add(vectors)
        seconds = time.perf_counter() - started
        if name == "HNSW":
            index.hnsw.efSearch = 64
        elif name != "flat":
            faiss.extract_index_ivf(index).nprobe = 16
        _, ids = index.search(asked, 10)
        hits = torch.from_numpy(ids) == given.own[:, None]
        results[name] = {
            "copies@1": round(float(hits[:, 0].float().mean()), 4),
            "copies@10": round(float(hits.any(1).float().mean()), 4),
            **milliseconds(
                lambda query, index=index: index.search(query.numpy(), 10), torch.from_numpy(asked)
            ),
            "bytes an image": round((len(faiss.serialize_index(index)) - shared) / count, 1),
            "shared bytes": shared,
            "build s": round(seconds, 1),
        }
        del index
    return results


def run(folders: list[Path], count: int, queries: int, overrides: list[str]) -> dict[str, Any]:
    """Measure one size."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    phases = Phases()
    with tempfile.TemporaryDirectory() as folder:
        given = derive(real_photos(folders), count, queries, Path(folder) / "features.npy")
        state = build(given, overrides, phases)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        path = Path(folder) / "index.dsi"
        phases.run("write", lambda: write_index(path, state))
        torch.set_num_threads(1)
        parts = {name: round(size / count, 2) for name, size in sizes(path).items()}
        measured = {
            "images": count,
            "nodes": state.trie.num_nodes,
            "digits": state.trie.max_length,
            "width": state.resolved.model.embedding_dim,
            "vector bytes": state.model.row_bytes,
            "steps": state.report.steps,
            "IA@1": state.report.indexing_accuracy,
            "seconds": phases.seconds,
            "peak GiB": round(peak, 2),
            "bytes an image": {"all": round(sum(parts.values()), 2), **parts},
            "search": measure_search(state, given),
            **measure_opening(path),
        }
        print(json.dumps(measured), file=sys.stderr, flush=True)
        return {**measured, "peers": measure_peers(given)}


def main() -> None:
    """Measure each size in a process of its own."""
    sets, rest = [Path(text) for text in sys.argv[1:] if Path(text).is_dir()], sys.argv[1:]
    options = dict(text.split("=", 1) for text in rest if not Path(text).is_dir())
    counts = [int(text) for text in options.pop("sizes", "1000,10000,100000").split(",")]
    queries = int(options.pop("queries", 1000))
    overrides = [f"{key}={value}" for key, value in options.items()]
    if len(counts) == 1:
        print(json.dumps(run(sets, counts[0], queries, overrides)), flush=True)
        return
    for count in counts:
        subprocess.run(
            [sys.executable, __file__, *map(str, sets), f"sizes={count}", f"queries={queries}", *overrides],
            check=True,
        )


if __name__ == "__main__":
    main()
