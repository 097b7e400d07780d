"""What do vectors of fewer bytes lose, beside FAISS codes of as many bytes?

    python benchmarks/vector_bytes.py NAME=FOLDER --size N [--queries validation|test] [--seed 0] [-o FILE] [key=value]

A cell is that of `quality.py`. The product is built once with float vectors; then its rows are coded with 8 to 512
bytes, and everything is measured again. The peers are product quantizers with a learned rotation (OPQ), inverted files
of these (IVF-PQ), and signs after a learned rotation (ITQ) of half-whitened roots of the features, with 8 to 64 bytes.
Bytes are those of the code of an image alone. Prints a table, and writes JSON with -o.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from cell import Cell, load_cell
from locked import commit_of
from measure import measure
from methods import Found, Search, fit_product, search_of
from shared import named_folders
from torch import Tensor

from vitdsi.evaluation.peers.half_whitened import HalfWhitened
from vitdsi.files import write_atomically
from vitdsi.model.coding import with_row_bytes
from vitdsi.search.calibrate import calibrate

_BYTES = (8, 16, 32, 64, 128, 256, 512)
_BYTES_OF_PEERS = (8, 16, 32, 64)  # rotations to more parts take hours
_REPORTED = ("MAP", "P@10", "as in training@1", "unseen@1")
_WIDTH = 512


def product(cell: Cell, overrides: list[str]) -> Iterator[tuple[str, int, Search]]:
    """The product with vectors of floats, and of each number of bytes."""
    index, _ = fit_product([*overrides, "vector_bytes=null"], cell)
    state = index.state_
    width = state.resolved.model.embedding_dim
    yield "product, floats", 4 * width, search_of(index, "")
    for size in _BYTES:
        if size <= width:
            model = with_row_bytes(state.model, state.trie, size)
            coded = SimpleNamespace(state_=calibrate(replace(state, model=model)))
            yield "product", size, search_of(coded, "")  # type: ignore[arg-type]


def peers(cell: Cell) -> Iterator[tuple[str, int, Search]]:
    """Codes of FAISS of half-whitened roots."""
    import faiss

    faiss.omp_set_num_threads(1)
    space = HalfWhitened().fit(SimpleNamespace(indexed=cell.indexed_features.float().numpy()))  # type: ignore[arg-type]
    vectors = space.embed(cell.indexed_features.float().numpy())
    lists = round(math.sqrt(cell.size))
    kinds = [("float", 4 * _WIDTH, "Flat")]
    for size in _BYTES_OF_PEERS:
        kinds.append(("OPQ", size, f"OPQ{size}_{_WIDTH},PQ{size}"))
        kinds.append(("IVF-PQ", size, f"IVF{lists},PQ{size}"))
        if 8 * size <= _WIDTH:
            kinds.append(("signs", size, f"ITQ{8 * size},LSH"))
    for name, size, factory in kinds:
        metric = faiss.METRIC_L2 if name == "signs" else faiss.METRIC_INNER_PRODUCT
        found = faiss.index_factory(_WIDTH, factory, metric)
        found.train(vectors)
        found.add(vectors)
        if name == "IVF-PQ":
            faiss.extract_index_ivf(found).nprobe = lists

        def search(
            features: Tensor, k: int, found: Any = found, sign: int = -1 if name == "signs" else 1
        ) -> Found:
            scores, ids = found.search(space.embed(features.float().numpy()), k)
            return ids, sign * scores

        yield name, size, search


def main() -> None:
    """Measure the product and its peers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("given", nargs="+")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--queries", choices=["validation", "test"], default="validation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    sets, overrides = named_folders(args.given)
    ((name, folder),) = sets.items()
    cell = load_cell(name, folder, args.size, args.seed, args.queries)
    rows = []
    for methods in (product(cell, [f"seed={args.seed}", *overrides]), peers(cell)):
        for method, size, search in methods:
            values = measure(search, cell)
            row = {"method": method, "bytes": size}
            row |= {metric: round(float(np.mean(values[metric])), 4) for metric in _REPORTED}
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    print("| method | bytes | " + " | ".join(_REPORTED) + " |")
    print("| --- " * (2 + len(_REPORTED)) + "|")
    for row in sorted(rows, key=lambda row: (str(row["method"]), row["bytes"])):
        print("| " + " | ".join(str(value) for value in row.values()) + " |")
    if args.output is not None:
        commit, _ = commit_of(Path(__file__).parent, allow_dirty=True)
        report = {**cell.description, "commit": commit, "rows": rows}
        with write_atomically(args.output) as stream:
            stream.write((json.dumps(report, indent=1) + "\n").encode())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
