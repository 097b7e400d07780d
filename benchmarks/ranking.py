"""What does a wider beam, or a code of 16 bytes an image, add to the order of the results?

    python benchmarks/ranking.py NAME=FOLDER ... [--seed 0] [key=value ...]

An index without labels of 25 % of each class, as in benchmarks/quality.py. For each beam, by the model's probability
alone and with likeness as well (the default): P@10 and MAP@10 of the test photos, altered copies of 500 indexed images
at rank 1, and milliseconds a query in batches of 64. Then the beam of 24 by log p + weight * cosine(query, code), where
a code is the product-quantised summary of an image, 16 bytes, or the signs of its first 128 axes, or nothing but the
row that the model has for its last digit (the default, with weight 50). The largest weight is the cosine alone. One
JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from main_job import fit
from torch import Tensor

from vitdsi import ImageIndex
from vitdsi.backbones.cache import default_cache
from vitdsi.backbones.reader import FeatureReader
from vitdsi.config import load_config
from vitdsi.evaluation.metrics import hit_at, summarise
from vitdsi.paper.split import split_per_class
from vitdsi.photos.alter import altered_copy
from vitdsi.photos.find import scan_folder
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank

_BEAMS = (10, 12, 24, 48, 100, 300)
_RERANKED = 24
_WEIGHTS = (0.0, 10.0, 30.0, 50.0, 1e6)
_ALTERED = 500


def search(
    index: ImageIndex, inputs: Tensor, beam: int, rerank: bool = False
) -> tuple[np.ndarray, np.ndarray, float]:
    """Ids and logarithms of scores (Q, beam), and milliseconds of this process a query."""
    start = time.process_time()
    found = [
        rank(index.state_, part, SearchOptions(k=beam, beam_size=beam, rerank=rerank))
        for part in torch.split(inputs, 64)
    ]
    spent = (time.process_time() - start) / len(inputs) * 1e3
    ids, scores = (np.concatenate(part) for part in zip(*found, strict=True))
    return ids, np.log(np.maximum(scores, 1e-30)), spent


def codes(summaries: np.ndarray) -> dict[str, np.ndarray]:
    """What 16 bytes an image keep of summaries (N, D), as unit vectors (N, D)."""
    quantizer = faiss.ProductQuantizer(summaries.shape[1], 16, 8)
    quantizer.verbose = False
    quantizer.train(summaries)
    signs = np.where(summaries > 0, 1.0, -1.0)
    signs[:, 128:] = 0
    kept = {"product quantised": quantizer.decode(quantizer.compute_codes(summaries)), "signs": signs}
    return {name: v / np.linalg.norm(v, axis=1, keepdims=True) for name, v in kept.items()}


def leaf_rows(index: ImageIndex) -> np.ndarray:
    """What the model itself keeps of each image: the row of its last digit, as unit vectors (N, D)."""
    trie, head = index.trie_, index.model_.head
    rows = head.vectors(trie, trie.live_ids()).detach()
    return torch.nn.functional.normalize(rows, dim=-1).numpy()


def study(name: str, folder: Path, seed: int, overrides: list[str]) -> None:
    """Print a line a setting."""
    split = split_per_class(scan_folder(folder, "folder"), seed=seed)
    index = fit(load_config(overrides=[f"seed={seed}", *overrides]), split.indexing)
    loader = FeatureReader("pooled", cache=default_cache())
    test = loader.load([r.path for r in split.test]).features
    own = np.arange(len(split.indexing))[:: max(1, len(split.indexing) // _ALTERED)]
    altered = loader.load(
        [split.indexing[i].path for i in own],
        alter=lambda image, i: altered_copy(image, np.random.default_rng([seed + 1000, i])),
    ).features
    classes = np.array([r.label for r in split.indexing])
    relevant = [np.flatnonzero(classes == r.label) for r in split.test]

    def show(what: dict[str, Any], ids: np.ndarray, copies: np.ndarray) -> None:
        found = summarise(ids, relevant, len(classes), ("P@10", "MAP@10"))
        values = {metric: round(value.value, 4) for metric, value in found.items()}
        first = round(float(hit_at(copies, own, 1).mean()), 4)
        print(json.dumps({"set": name, "seed": seed, **what, **values, "altered@1": first}), flush=True)

    for beam in _BEAMS:
        for rerank in (False, True):
            ids, _, spent = search(index, test, beam, rerank)
            what = {"beam": beam, "likeness": rerank, "ms": round(spent, 3)}
            show(what, ids, search(index, altered, beam, rerank)[0])
    stem: Any = index.model_.stem
    assert index.features_ is not None
    with torch.inference_mode():
        kept, *queries = (stem.embedding(x.float()).numpy() for x in (index.features_, test, altered))
    lists = [search(index, x, _RERANKED)[:2] for x in (test, altered)]
    for code, vectors in {"rows": leaf_rows(index), **codes(kept)}.items():
        for weight in _WEIGHTS:
            ranked = []
            for (ids, scores), asked in zip(lists, queries, strict=True):
                cosine = np.einsum("qkd,qd->qk", vectors[ids], asked)
                order = np.argsort(-(scores + weight * cosine), axis=1, kind="stable")
                ranked.append(np.take_along_axis(ids, order, axis=1))
            show({"beam": _RERANKED, "code": code, "weight": weight}, *ranked)


def main() -> None:
    """Every set that is given."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("given", nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_intermixed_args()
    pairs = [text.split("=", 1) for text in args.given]
    sets = {name: Path(value) for name, value in pairs if Path(value).is_dir()}
    for name, folder in sets.items():
        study(name, folder, args.seed, [f"{key}={value}" for key, value in pairs if key not in sets])


if __name__ == "__main__":
    main()
