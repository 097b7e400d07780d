"""What an index costs on disk and in memory apart from its model: bytes, opening, searching, filtering, one change.

    python benchmarks/storage.py DIR --images 1000000

The index in DIR is synthetic: random codes, names, hashes, thumbnails and facts, and a model with random weights, which
beam search decodes. Each figure is measured in a process of its own. Memory is what the process holds beyond what it
holds after its imports and a first search in a tiny index.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from vitdsi.collection.parts import GROWING
from vitdsi.collection.remove import remove
from vitdsi.collection.resolve import resolve_config
from vitdsi.collection.storage import read_index, sizes, write_index
from vitdsi.columns.hashes import ContentHashes
from vitdsi.columns.names import Names
from vitdsi.columns.segments import Column
from vitdsi.columns.thumbnails import Thumbnails
from vitdsi.config import load_config
from vitdsi.facts.store import MetadataStore
from vitdsi.ids.codes import encode_numbers
from vitdsi.ids.trie import Trie
from vitdsi.model.graft import graft
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.search.filters import passing_ids
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank
from vitdsi.state import BuildReport, IndexState

_FEATURES, _BASE, _DIGITS, _LEAVES, _SEARCHES = 1280, 256, 3, 100, 1000


def synthetic(count: int) -> IndexState:
    """Return a state of `count` images with random content."""
    rng = np.random.default_rng(0)
    requested = load_config(
        overrides=[
            "training.hard_views=0",
            "ids.scheme=random",
            f"ids.base={_BASE}",
        ]
    )
    config = resolve_config(requested, count)
    places = rng.permutation(count)
    numbers = places // _LEAVES * _BASE + places % _LEAVES
    trie = Trie(encode_numbers(numbers, _BASE, length=_DIGITS), _BASE)
    pictures = rng.integers(0, 256, (min(count, 1000), 32, 32), dtype=np.uint8)
    rows = Thumbnails.of(torch.from_numpy(pictures)).rows.since(0)
    hashes = rng.integers(1, 2**63, count, dtype=np.int64)
    facts = {
        i: {"width": 4000, "height": 3000, "taken": f"20{i % 24:02}-07-01T12:00:00", "album": f"a{i % 100}"}
        for i in range(count)
    }
    return IndexState(
        requested,
        config,
        Seq2Seq(config.model, trie, (_FEATURES,), config.vector_bytes).eval(),
        trie,
        Names.of(f"album {i // 1000:05}/IMG_{i:07}.jpg" for i in range(count)),
        None,
        ContentHashes(Column([hashes])),
        None,
        Thumbnails(Column([rows[np.arange(count) % len(rows)]])),
        torch.zeros(0, _FEATURES, dtype=torch.half),
        MetadataStore.create(facts),
        BuildReport(count),
    )


def _memory() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


def _searches(state: IndexState, count: int) -> float:
    """Search for random features; return the mean seconds."""
    features = torch.rand(count, 1, _FEATURES)
    began = time.perf_counter()
    for query in features:
        rank(state, query, SearchOptions(k=10, beam_size=10))
    return (time.perf_counter() - began) / count


def searching(path: Path, tiny: Path) -> dict[str, float]:
    """Measure opening an index and searching it."""
    _searches(read_index(tiny), 3)
    before = _memory()
    began = time.perf_counter()
    state = read_index(path)
    opened = time.perf_counter() - began
    open_memory = _memory() - before
    one = _searches(state, _SEARCHES)
    name = state.image_ids[len(state.image_ids) // 2]
    began = time.perf_counter()
    state.live_ids_of([name])
    lookup = time.perf_counter() - began
    memory = _memory() - before
    began = time.perf_counter()
    found = passing_ids(state, "album = 'a7'")
    state.trie.restrict(found)
    return {
        "open_s": round(opened, 3),
        "open_mb": round(open_memory, 1),
        "search_ms": round(1000 * one, 3),
        f"mb_after_{_SEARCHES}_searches": round(memory, 1),
        "name_look_up_ms": round(1000 * lookup, 3),
        "filter_1_percent_ms": round(1000 * (time.perf_counter() - began), 1),
    }


def _bytes(path: Path, before: set[str]) -> int:
    return sum(file.stat().st_size for file in path.iterdir() if file.name not in before - {"index.json"})


def changing(path: Path, tiny: Path) -> dict[str, float]:
    """Measure what removing and adding one image cost, without reading it and finding its place."""
    state = read_index(path)
    files = {file.name for file in path.iterdir()}
    began = time.perf_counter()
    state = remove(state, [5])
    generation = write_index(path, state, ("live",))
    measured = {"remove_ms": 1000 * (time.perf_counter() - began), "remove_bytes": _bytes(path, files)}
    state, files = replace(state, generation=generation), {file.name for file in path.iterdir()}
    count = len(state.image_ids)
    began = time.perf_counter()
    codes = torch.cat([state.trie.tree.small_codes, torch.tensor([[0, 0, _LEAVES]])])
    codes[state.trie.clashing(np.array([[0, 0, _LEAVES]]))] = state.trie.vocabulary.pad
    trie = Trie(codes, _BASE, torch.cat([state.trie.live, torch.ones(1, dtype=torch.bool)]))
    model, known = graft(state.model, state.trie, trie, state.resolved.seed)
    vector = torch.nn.functional.normalize(torch.randn(1, state.resolved.model.embedding_dim))
    model.head.imprint(trie, torch.tensor([count]), vector, state.resolved.seed, known=known)
    assert state.thumbnails is not None
    grown = replace(
        state,
        model=model,
        trie=trie,
        image_ids=state.image_ids.joined(["new.jpg"]),
        hashes=state.hashes.joined(["12345678" * 4]),
        thumbnails=state.thumbnails.joined(torch.zeros(1, 32, 32, dtype=torch.uint8)),
        metadata=state.metadata.adding({count: {"width": 1}}),
    )
    measured["add_ms_in_memory"] = 1000 * (time.perf_counter() - began)
    write_index(path, grown, GROWING)
    measured |= {"add_ms": 1000 * (time.perf_counter() - began), "add_bytes": _bytes(path, files)}
    return {name: round(value, 1) for name, value in measured.items()}


_MEASURED = {"searching": searching, "changing": changing}


def main() -> None:
    """Make the index if it is not there, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--measure", choices=_MEASURED, help="measure in this process")
    given = parser.parse_args()
    path, tiny = given.folder / f"{given.images}.dsi", given.folder / "tiny.dsi"
    if given.measure:
        print(json.dumps(_MEASURED[given.measure](path, tiny)))
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    for folder, count in ((path, given.images), (tiny, 100)):
        if not folder.exists():
            write_index(folder, synthetic(count))
    figures: dict[str, Any] = {"images": given.images}
    figures["bytes_per_image"] = {part: round(size / given.images, 1) for part, size in sizes(path).items()}
    for name in _MEASURED:
        command = [
            sys.executable,
            __file__,
            str(given.folder),
            "--images",
            str(given.images),
            "--measure",
            name,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures |= json.loads(done.stdout)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
