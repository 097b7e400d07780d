"""How do the width of the beam, reranking, and stored codes of 16 bytes change the order of the results?

    python benchmarks/ranking.py NAME=FOLDER ... [--seed 0] [key=value ...]

25 % of each class are indexed without labels, as in benchmarks/quality.py. For each beam, without reranking and with it
(the default): P@10 and MAP@10 of the validation photos, altered copies of 500 indexed images at rank 1, and CPU time
for each query in milliseconds, in batches of 64. Then the results of a beam of 24 are ordered by log p + weight *
cosine(query, code). A code is the product-quantised embedding of an image (16 bytes), the signs of its first 128 axes,
or the row of the trie head for its last digit (as in the default, with weight 50). The largest weight orders by the
cosine alone.
Writes a JSON object on each line.
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
from shared import altered_features, fit, named_folders, pooled_reader, relevant_ids
from torch import Tensor

from vitdsi import ImageIndex
from vitdsi.config import load_config
from vitdsi.evaluation.metrics import hit_at, summarise
from vitdsi.paper.split import split_per_class
from vitdsi.photos.find import scan_folder
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank

_BEAMS = (10, 12, 24, 48, 100, 300)
_RERANKED = 24
_WEIGHTS = (0.0, 10.0, 30.0, 50.0, 1e6)
_ALTERED_IMAGES = 500


def search(
    index: ImageIndex, inputs: Tensor, beam: int, rerank: bool = False
) -> tuple[np.ndarray, np.ndarray, float]:
    """Ids (Q, beam) and logarithms of their scores, and milliseconds of CPU time for each query."""
    start = time.process_time()
    found = [
        rank(index.state_, part, SearchOptions(k=beam, beam_size=beam, rerank=rerank))
        for part in torch.split(inputs, 64)
    ]
    milliseconds = (time.process_time() - start) / len(inputs) * 1e3
    ids, scores = (np.concatenate([getattr(part, name) for part in found]) for name in ("ids", "scores"))
    return ids, np.log(np.maximum(scores, 1e-30)), milliseconds


def codes(embeddings: np.ndarray) -> dict[str, np.ndarray]:
    """Embeddings (N, D) after compression to 16 bytes in two ways, as unit vectors (N, D)."""
    quantizer = faiss.ProductQuantizer(embeddings.shape[1], 16, 8)
    quantizer.verbose = False
    quantizer.train(embeddings)
    signs = np.where(embeddings > 0, 1.0, -1.0)
    signs[:, 128:] = 0
    decoded = {"product quantised": quantizer.decode(quantizer.compute_codes(embeddings)), "signs": signs}
    return {name: v / np.linalg.norm(v, axis=1, keepdims=True) for name, v in decoded.items()}


def leaf_rows(index: ImageIndex) -> np.ndarray:
    """The row of the trie head for the last digit of each image, as unit vectors (N, D)."""
    trie, head = index.trie_, index.model_.head
    rows = head.vectors(trie.live_ids()).detach()
    return torch.nn.functional.normalize(rows, dim=-1).numpy()


def study(name: str, folder: Path, seed: int, overrides: list[str]) -> None:
    """Print a line for each setting."""
    split = split_per_class(scan_folder(folder, "folder"), seed=seed)
    index = fit(load_config(overrides=[f"seed={seed}", *overrides]), split.indexing)
    reader, count = pooled_reader(), len(split.indexing)
    queries = reader.load([r.path for r in split.validation]).features
    own = np.arange(count)[:: max(1, count // _ALTERED_IMAGES)]
    altered = altered_features(reader, [split.indexing[i] for i in own])
    relevant = relevant_ids(split.indexing, split.validation)

    def show(setting: dict[str, Any], ids: np.ndarray, altered_ids: np.ndarray) -> None:
        metrics = summarise(ids, relevant, count, ("P@10", "MAP@10"))
        values = {metric: round(value.value, 4) for metric, value in metrics.items()}
        values["altered@1"] = round(float(hit_at(altered_ids, own, 1).mean()), 4)
        print(json.dumps({"set": name, "seed": seed, **setting, **values}), flush=True)

    for beam in _BEAMS:
        for rerank in (False, True):
            ids, _, milliseconds = search(index, queries, beam, rerank)
            setting = {"beam": beam, "reranked": rerank, "ms": round(milliseconds, 3)}
            show(setting, ids, search(index, altered, beam, rerank)[0])
    stem: Any = index.model_.stem
    assert index.features_ is not None
    with torch.inference_mode():
        embeddings, *searched = (
            stem.embedding(x.float()).numpy() for x in (index.features_, queries, altered)
        )
    lists = [search(index, x, _RERANKED)[:2] for x in (queries, altered)]
    for code, vectors in {"rows": leaf_rows(index), **codes(embeddings)}.items():
        for weight in _WEIGHTS:
            ranked = []
            for (ids, scores), query in zip(lists, searched, strict=True):
                cosine = np.einsum("qkd,qd->qk", vectors[ids], query)
                order = np.argsort(-(scores + weight * cosine), axis=1, kind="stable")
                ranked.append(np.take_along_axis(ids, order, axis=1))
            show({"beam": _RERANKED, "code": code, "weight": weight}, *ranked)


def main() -> None:
    """Study each set of photos."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("given", nargs="+", metavar="NAME=FOLDER | key=value")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_intermixed_args()
    sets, overrides = named_folders(args.given)
    for name, folder in sets.items():
        study(name, folder, args.seed, overrides)


if __name__ == "__main__":
    main()
