"""Does a null leaf, a branch of the root that means "not in the collection", tell insiders from outsiders?

    python benchmarks/null_leaf.py NAME=FOLDER ... [--size 1000] [--seeds 0] [-o DIR]

The null leaf is a mixture of 32 rows at the root of the trie, like a branch with prototypes. Its target is 1 for inputs
that stand for outsiders and 0 for images of the collection, clean and altered. It is learned together with the model
(`joint`, the last two kinds below) or after it, with all other weights frozen (`after`). What stands for outsiders:

- mixed: a convex combination of the features of two images, each altered;
- recombined: each number of the features from one of two images;
- too strong: a measured alteration, three to six times as strong;
- all three in equal parts;
- other photos: altered photos of the set that are not indexed, which a user does not have. It is the upper bound.

The index of `--size` photos without labels is searched with altered copies of indexed photos and of validation photos,
under the alterations that training knows and under six that it does not know. Reported are AUROC and false positives at
95 % recall of the calibrated score, of 1 - p(null), of their product, and of the best of all weighted sums of their
logits (chosen by the reported photos themselves, so it is an upper bound); then the same after half of the insiders
were removed and count as outsiders. Writes DIR/NAME-SEED.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from alterations import KNOWN, UNSEEN
from cell import load_cell
from shared import fit, named_folders
from torch import Tensor, nn

from vitdsi.collection import build
from vitdsi.collection.remove import remove
from vitdsi.config import ModelConfig, load_config
from vitdsi.evaluation.comparison import false_positives
from vitdsi.evaluation.detection import auroc
from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.heads import HEADS, TrieHead
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rankings, top_scores
from vitdsi.state import IndexState
from vitdsi.training.data import TrainingData
from vitdsi.training.loop import train
from vitdsi.training.views import FeatureViews

_ROWS = 32
_EXAMPLES = 64  # of each side in a step
_EXAMPLES_AFTER, _STEPS_AFTER = 4000, 1500
_EPSILON = 1e-7
KINDS = ("mixed", "recombined", "too strong", "all three", "other photos")

Scores = npt.NDArray[np.float64]
Outside = Callable[[int, torch.Generator], Tensor]


class NullTrieHead(TrieHead):
    """The trie head with a null leaf; scores are those of the trie head, and `null` is the score of the leaf."""

    def __init__(self, config: ModelConfig, trie: Trie) -> None:
        super().__init__(config, trie)
        self.null_rows = nn.Parameter(torch.zeros(_ROWS, config.embedding_dim))
        self.null_bias = nn.Parameter(torch.zeros(_ROWS))
        self.register_buffer("root_branches", trie.child[0] != NONE, persistent=False)

    def root(self, hidden: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """The queries (B, E) that the head compares with its rows at the root, and the energies (B,) of the root."""
        query = (embedding + self.steer(hidden[:, 0])) * self.log_scale.exp()
        scores = self(hidden, embedding, torch.zeros(len(query), 1, dtype=torch.long))[:, 0]
        return query, scores.masked_fill(~self.root_branches, -torch.inf).logsumexp(1)

    def null_logit(self, query: Tensor, energy: Tensor) -> Tensor:
        """The score of the null leaf minus the energy of the root: the log-odds (B,) of the leaf."""
        return (query @ self.null_rows.T + self.null_bias).logsumexp(1) - energy


def root(model: Seq2Seq, features: Tensor) -> tuple[Tensor, Tensor]:
    """The queries (B, E) and the energies (B,) at the root for features (B, F)."""
    assert isinstance(model.head, NullTrieHead)
    memory, embedding = model.encode(features)
    begin = torch.full((len(features), 1), model.vocabulary.bos)
    return model.head.root(model.decoder.step(begin, 0, model.start(memory)), embedding)


def outsiders(kind: str, data: TrainingData, others: Tensor) -> Outside:
    """Return a function that draws inputs that stand for outsiders."""
    views, count = data.views, len(data.indexing_rows)
    assert isinstance(views, FeatureViews)

    def some(n: int, rng: torch.Generator) -> Tensor:
        return views.altered(torch.randint(count, (n,), generator=rng), rng)

    def mixed(n: int, rng: torch.Generator) -> Tensor:
        share = 0.3 + 0.4 * torch.rand(n, 1, generator=rng)
        first, second = some(n, rng), some(n, rng)
        return share * first + (1 - share) * second

    def recombined(n: int, rng: torch.Generator) -> Tensor:
        first, second = some(n, rng), some(n, rng)
        return torch.where(torch.rand(first.shape, generator=rng) < 0.5, first, second)

    def too_strong(n: int, rng: torch.Generator) -> Tensor:
        pick = torch.randint(len(views.differences), (n,), generator=rng)
        strength = 3 + 3 * torch.rand(n, 1, generator=rng)
        clean = views.clean(torch.randint(count, (n,), generator=rng))
        return (clean + strength * views.differences[pick].float()).clamp(min=0)

    def everything(n: int, rng: torch.Generator) -> Tensor:
        return torch.cat([draw(n // 3 + 1, rng) for draw in (mixed, recombined, too_strong)])[:n]

    def other_photos(n: int, rng: torch.Generator) -> Tensor:
        strange = FeatureViews(others, views.differences)
        return strange.altered(torch.randint(len(others), (n,), generator=rng), rng)

    return {
        "mixed": mixed,
        "recombined": recombined,
        "too strong": too_strong,
        "all three": everything,
        "other photos": other_photos,
    }[kind]


def examples(data: TrainingData, outside: Outside, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw `count` inputs that stand for outsiders and as many insiders, half of them altered; and the targets."""
    rows = data.indexing_rows[torch.randint(len(data.indexing_rows), (count,), generator=rng)]
    half = count // 2
    inside = torch.cat([data.views.clean(rows[:half]), data.views.altered(rows[half:], rng)])
    return torch.cat([outside(count, rng), inside]), torch.cat([torch.ones(count), torch.zeros(count)])


def null_loss(model: Seq2Seq, data: TrainingData, outside: Outside, rng: torch.Generator) -> Tensor:
    """The part of the cross-entropy at the root that the null leaf adds, for insiders and outsiders."""
    assert isinstance(model.head, NullTrieHead)
    inputs, target = examples(data, outside, _EXAMPLES, rng)
    return F.binary_cross_entropy_with_logits(model.head.null_logit(*root(model, inputs)), target)


def imprint_null(model: Seq2Seq, outside: Outside, rng: torch.Generator) -> None:
    """Start the rows of the null leaf from embeddings of outsiders."""
    assert isinstance(model.head, NullTrieHead)
    with torch.no_grad():
        model.head.null_rows.copy_(model.embeddings(outside(_ROWS, rng)))
        model.head.null_bias.zero_()


def fit_index(
    records: list[Any], seed: int, kind: str | None, others: Tensor
) -> tuple[IndexState, TrainingData]:
    """Build an index, whose null leaf is learned together with the model if `kind` says from what."""
    kept: list[TrainingData] = []

    def train_with_null(model: Seq2Seq, data: TrainingData, *given: Any, **named: Any) -> Any:
        kept.append(data)
        if kind is None:
            return train(model, data, *given, **named)
        outside, rng = outsiders(kind, data, others), torch.Generator().manual_seed(seed + 1)
        imprint_null(model, outside, rng)
        return train(model, data, *given, penalty=lambda: null_loss(model, data, outside, rng), **named)

    HEADS.setdefault("null_leaf", NullTrieHead)
    config = load_config(overrides=[f"seed={seed}", "model.paper.head=null_leaf"])
    with mock.patch.object(build, "train", train_with_null):
        return fit(config, records, None).state_, kept[0]


def learn_null_leaf(model: Seq2Seq, data: TrainingData, outside: Outside, seed: int) -> None:
    """Learn the null leaf of a model whose other weights are frozen, so that queries and energies are computed once."""
    rng = torch.Generator().manual_seed(seed + 1)
    head = model.head
    assert isinstance(head, NullTrieHead)
    imprint_null(model, outside, rng)
    inputs, target = examples(data, outside, _EXAMPLES_AFTER, rng)
    with torch.no_grad():
        query, energy = (
            torch.cat(part) for part in zip(*map(partial(root, model), inputs.split(256)), strict=True)
        )
    optimizer = torch.optim.Adam([head.null_rows, head.null_bias], lr=3e-3)
    for _ in range(_STEPS_AFTER):
        pick = torch.randint(len(target), (256,), generator=rng)
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(
            head.null_logit(query[pick], energy[pick]), target[pick]
        ).backward()
        optimizer.step()


@torch.inference_mode()
def inside_by_null(state: IndexState, features: Tensor) -> Scores:
    """Return log p(not null) - log p(null) of each query (Q,)."""
    head = state.model.head
    assert isinstance(head, NullTrieHead)
    logits = [head.null_logit(*root(state.model, part)) for part in torch.split(features, 64)]
    return -torch.cat(logits).double().numpy()


def logit(scores: npt.NDArray[Any]) -> Scores:
    """The log-odds of scores."""
    clipped = np.clip(scores.astype(np.float64), _EPSILON, 1 - _EPSILON)
    return np.log(clipped) - np.log1p(-clipped)


def detect(state: IndexState, inside: Tensor, outside: Tensor) -> dict[str, float]:
    """Detection by the score, by the null leaf, and by both."""
    scores = [top_scores(state, side) for side in (inside, outside)]
    nulls = [inside_by_null(state, side) for side in (inside, outside)]
    found: dict[str, list[Scores]] = {
        "score": [s.astype(np.float64) for s in scores],
        "null leaf": nulls,
        "product": [s / (1 + np.exp(-n)) for s, n in zip(scores, nulls, strict=True)],
    }
    weighted = [
        [logit(s) + weight * n for s, n in zip(scores, nulls, strict=True)]
        for weight in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    ]
    found["best weighted sum"] = max([found["score"], *weighted], key=lambda sides: auroc(*sides).value)
    return {
        f"{measure}, {name}": round(value, 4)
        for name, sides in found.items()
        for measure, value in (("AUROC", auroc(*sides).value), ("FPR@95", false_positives(*sides)))
    }


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each value."""
    return {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}


def study(name: str, folder: Path, size: int, seed: int) -> dict[str, Any]:
    """Measure one set of photos with one seed."""
    cell = load_cell(name, folder, size, seed, "validation")
    queries, own, others = cell.altered, cell.inside, cell.training_features
    rng = np.random.default_rng([seed, 5])
    gone = np.isin(np.arange(len(own)), rng.permutation(len(own))[: len(own) // 2])
    result: dict[str, Any] = {
        "images": size,
        "seed": seed,
        "insiders": len(own),
        "outsiders": len(queries[KNOWN][1]),
    }

    def report(row: str, state: IndexState) -> None:
        smaller = remove(state, own[gone].tolist())
        rows = {name: detect(state, *queries[name]) for name in (KNOWN, *UNSEEN)}
        inside, outside = queries[KNOWN]
        result[row] = {
            KNOWN: rows[KNOWN],
            "unseen": mean([rows[name] for name in UNSEEN]),
            "half of the insiders removed": detect(
                smaller, inside[~gone], torch.cat([outside, inside[gone]])
            ),
            "found first": round(float((_first(state, inside) == own).mean()), 4),
        }
        print(seed, row, json.dumps(result[row], indent=1), file=sys.stderr, flush=True)

    state, data = fit_index(cell.indexed, seed, None, others)
    for kind in KINDS:
        learn_null_leaf(state.model, data, outsiders(kind, data, others), seed)
        report(f"after, {kind}", state)
    for kind in KINDS[-2:]:
        report(f"joint, {kind}", fit_index(cell.indexed, seed, kind, others)[0])
    return result


def _first(state: IndexState, features: Tensor) -> npt.NDArray[np.int64]:
    """The first result (Q,) of each query."""
    return rankings(state, features, SearchOptions(k=10))[:, 0]


def main() -> None:
    """Study each set of photos."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("given", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--size", type=int, default=1000, help="indexed photos")
    parser.add_argument("--seeds", default="0", help="seeds, separated by commas")
    parser.add_argument("-o", "--output", type=Path, default=Path("results/null_leaf"), metavar="DIR")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for name, folder in named_folders(args.given)[0].items():
        for seed in map(int, args.seeds.split(",")):
            found = study(name, folder, args.size, seed)
            path = args.output / f"{name}-{args.size}-{seed}.json"
            path.write_text(json.dumps({"set": name, **found}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
