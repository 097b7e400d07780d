"""Do scores mean what they say? Calibration and detection, with filters, without likeness, and after changes.

    python benchmarks/scores.py NAME=FOLDER ... [--size 1000] [--seed 0] [-o DIR] [key=value ...]

FOLDER has a sub-folder for each class. An index of `--size` photos without labels is searched with altered copies of
indexed photos (insiders) and of other photos (outsiders), all altered in ways that training knows. Reported are, before
and after each change of the collection, with a filter and ordered by probability alone:

- the expected calibration error of the scores of first results and of all first ten, in ten bins of equal width, with
  as many insiders as outsiders;
- AUROC of the best score of insiders against outsiders, and false positives at 95 % recall;
- the share of insiders and of outsiders that have a result at the score that `--min-score auto` stands for.

Beside it: the same two measures of detection for other evidence of the model (the log-probability of the best result,
its picture cosine, and the energy of the root, the log-sum-exp of its scores; Liu et al. 2020), and for exact cosine
kNN with the cosine, the softmax over the collection, and the margin to the second. Writes DIR/NAME.json
(results/scores).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from alterations import KNOWN
from shared import altered_features, fit, named_folders, pooled_reader
from splits import split_of_size
from torch import Tensor

from vitdsi.collection.add import add
from vitdsi.collection.compact import compact
from vitdsi.collection.read import read_collection
from vitdsi.collection.remove import remove
from vitdsi.config import load_config
from vitdsi.evaluation.comparison import false_positives
from vitdsi.evaluation.detection import auroc
from vitdsi.files import write_atomically
from vitdsi.ids.trie import Trie
from vitdsi.neighbours import nearest
from vitdsi.photos.find import scan_folder
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import candidates, rank
from vitdsi.state import IndexState

_BINS = 10
_RESULTS = 10
_QUERIES = 400  # of each kind
_BATCH = 64
_KNN_TEMPERATURE = 0.05  # of the softmax of cosines

Floats = npt.NDArray[np.float64]


def calibration_error(scores: Floats, right: Floats) -> float:
    """The expected calibration error (Naeini et al. 2015): |mean score - share right| over the bins, by their size."""
    bins = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    gaps = [
        abs(scores[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean()
        for b in range(_BINS)
        if (bins == b).any()
    ]
    return float(sum(gaps))


def detection(inside: Floats, outside: Floats) -> dict[str, float]:
    """AUROC and false positives at 95 % recall."""
    return {
        "AUROC": round(auroc(inside, outside).value, 4),
        "FPR@95": round(false_positives(inside, outside), 4),
    }


def measure(
    state: IndexState,
    inside: tuple[Tensor, npt.NDArray[np.int64]],
    outside: Tensor,
    within: Trie | None = None,
    rerank: bool | None = None,
) -> dict[str, float]:
    """Measure the scores of an index: insiders are features (n, F) and the ids that they show."""
    options = SearchOptions(k=_RESULTS, rerank=rerank)
    found = {}
    for side, features in (("inside", inside[0]), ("outside", outside)):
        parts = [rank(state, part, options, within) for part in torch.split(features, _BATCH)]
        found[side] = tuple(np.concatenate([getattr(p, name) for p in parts]) for name in ("ids", "scores"))
    own = found["inside"][0] == inside[1][:, None]
    count = min(len(own), len(outside))
    some, others = (np.random.default_rng(0).permutation(len(part))[:count] for part in (own, outside))
    scores = np.concatenate([found["inside"][1][some], found["outside"][1][others]]).astype(np.float64)
    right = np.concatenate([own[some], np.zeros((count, own.shape[1]))]).astype(np.float64)
    best = {side: values[1].max(1).astype(np.float64) for side, values in found.items()}
    least = state.report.calibration.min_score or 0.0
    return {
        "ECE, first results": round(calibration_error(scores[:, 0], right[:, 0]), 4),
        "ECE, first ten": round(calibration_error(scores.ravel(), right.ravel()), 4),
        **detection(best["inside"], best["outside"]),
        "insiders at the automatic score": round(float((best["inside"] >= least).mean()), 4),
        "outsiders at the automatic score": round(float((best["outside"] >= least).mean()), 4),
        "insiders found first": round(float(own[:, 0].mean()), 4),
        "images": int(state.trie.live.sum()),
    }


@torch.inference_mode()
def other_evidence(state: IndexState, inside: Tensor, outside: Tensor) -> dict[str, dict[str, float]]:
    """Detection by single quantities of the model, and by exact cosine kNN."""
    values: dict[str, list[Floats]] = {}
    assert state.features is not None
    for features in (inside, outside):
        columns: dict[str, list[Tensor]] = {}
        for part in torch.split(features, _BATCH):
            seen = candidates(state, part, SearchOptions(k=_RESULTS)).evidence
            columns.setdefault("log-probability", []).append(seen[..., 0].amax(1))
            columns.setdefault("picture cosine", []).append(seen[..., 1].amax(1))
            columns.setdefault("category cosine", []).append(seen[..., 2].amax(1))
            columns.setdefault("energy of the root", []).append(root_energy(state, part))
        _, cosines = nearest(features, state.features[state.trie.live_ids()], len(state.trie.codes))
        columns["kNN cosine"] = [cosines[:, 0]]
        columns["kNN softmax"] = [(cosines / _KNN_TEMPERATURE).softmax(1)[:, 0]]
        columns["kNN margin"] = [cosines[:, 0] - cosines[:, 1]]
        for name, parts in columns.items():
            values.setdefault(name, []).append(torch.cat(parts).double().numpy())
    return {name: detection(*sides) for name, sides in values.items()}


def root_energy(state: IndexState, features: Tensor) -> Tensor:
    """The log-sum-exp (B,) of the scores of all branches of the root, which the softmax divides away."""
    model = state.model
    memory, embedding = model.encode(features)
    start = torch.zeros(len(features), 1, dtype=torch.long)
    scores = model.step(
        torch.full_like(start, model.vocabulary.bos), start, 0, embedding, model.start(memory)
    )
    return scores[:, 0].masked_fill(state.trie.child[0] == -1, -torch.inf).logsumexp(1)


def study(name: str, folder: Path, size: int, seed: int, overrides: list[str]) -> dict[str, Any]:
    """Measure one set of photos."""
    split = split_of_size(scan_folder(folder, "folder"), seed, size)
    index = fit(load_config(overrides=[f"seed={seed}", *overrides]), split.indexing)
    reader, state = pooled_reader(), index.state_
    rng = np.random.default_rng([seed, 5])
    own = np.sort(rng.permutation(len(split.indexing))[:_QUERIES])
    others = split.validation[:_QUERIES]
    inside = altered_features(reader, [split.indexing[i] for i in own], KNOWN)
    outside = altered_features(reader, others, KNOWN)
    given = (inside, own)
    half = np.sort(rng.permutation(len(split.indexing))[: len(split.indexing) // 2])
    allowed = np.isin(own, half)
    rows = {
        "as built": measure(state, given, outside),
        "ordered by probability": measure(state, given, outside, rerank=False),
        "half of the images allowed": measure(
            state, (inside[allowed], own[allowed]), outside, state.trie.restrict(half)
        ),
    }
    new = [split.train[i] for i in rng.permutation(len(split.train))[: len(split.indexing) // 5]]
    grown, _ = add(state, read_collection([r.path for r in new], None, reader, by_folder=False), reader)
    copies = altered_features(reader, new, KNOWN)
    both = (torch.cat([inside, copies]), np.concatenate([own, len(state.image_ids) + np.arange(len(new))]))
    rows["a fifth added"] = measure(grown, both, outside)
    gone = np.sort(rng.permutation(own)[: len(own) // 2])
    left = ~np.isin(own, gone)
    smaller = remove(state, gone.tolist())
    rows["half of the insiders removed"] = measure(
        smaller, (inside[left], own[left]), torch.cat([outside, inside[~left]])
    )
    packed = compact(smaller, retrain=False)
    place = np.searchsorted(smaller.trie.live_ids().numpy(), own[left])
    rows["and compacted"] = measure(packed, (inside[left], place), torch.cat([outside, inside[~left]]))
    return {
        "set": name,
        "images": len(split.indexing),
        "seed": seed,
        "overrides": overrides,
        "insiders": len(own),
        "outsiders": len(others),
        "calibration": {**vars(replace(state.report.calibration, inside_scores=()))},
        "rows": rows,
        "other evidence": other_evidence(state, inside, outside),
    }


def main() -> None:
    """Study each set of photos."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("given", nargs="+", metavar="NAME=FOLDER | key=value")
    parser.add_argument("--size", type=int, default=1000, help="indexed photos")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path("results/scores"), metavar="DIR")
    args = parser.parse_intermixed_args()
    sets, overrides = named_folders(args.given)
    args.output.mkdir(parents=True, exist_ok=True)
    for name, folder in sets.items():
        found = study(name, folder, args.size, args.seed, overrides)
        print(json.dumps(found, indent=1), file=sys.stderr, flush=True)
        with write_atomically(args.output / f"{name}.json") as stream:
            stream.write((json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
