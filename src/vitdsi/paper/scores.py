"""Rankings to the figures of a cell: the standard metrics, and the paper's own definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi.evaluation.metrics import indexing_accuracy, precision_at, recall_at, summarise
from vitdsi.ids.trie import Trie
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.search.beam import beam_search

METRICS = ("IA@1", "IA@5", "P@10", "MAP@10", "Recall@100")
_QUERIES = 10  # the paper's
_OWN_BEAM = 32  # for IA; queries are scored against every id

Ids = npt.NDArray[np.int64]


def figures(own: Ids, rankings: Ids, relevant: Sequence[Ids], indexed: int, seed: int) -> dict[str, Any]:
    """`metrics` (with chance and interval, over all queries) and `paper` (its definitions, ten queries).

    Args:
        own: (N, >= 5) what was found for each indexed image; row i is that of id i.
        rankings: (Q, N) what was found for each test query.
    """
    measured = indexing_accuracy(own, np.arange(indexed), indexed)
    measured |= summarise(rankings, relevant, indexed, METRICS[2:])
    paper = {
        "IA@1": measured["IA@1"].value,
        "IA@5": measured["IA@5"].value,
        "MAP@10": _number(paper_map_at_10(rankings, relevant, seed=seed)),
        "Recall@100": _number(paper_recall_at_100(rankings, relevant, seed=seed)),
    }
    return {"metrics": {name: metric.as_dict() for name, metric in measured.items()}, "paper": paper}


def paper_map_at_10(rankings: Ids, relevant: Sequence[Ids], *, seed: int, queries: int = _QUERIES) -> float:
    """What the paper calls MAP@10: the mean P@10 of ten sampled queries, or NaN if no query has relevant ids.

    It serves comparisons with the paper only; `summarise` computes MAP@10 by its standard definition over all queries.
    """
    drawn = _draw_queries(relevant, seed, queries)
    return (
        float(precision_at(rankings[drawn], [relevant[q] for q in drawn], 10).mean())
        if len(drawn)
        else math.nan
    )


def paper_recall_at_100(rankings: Ids, relevant: Sequence[Ids], *, seed: int) -> float:
    """The paper's Recall@100: the mean over the same ten queries that `paper_map_at_10` samples, or NaN."""
    drawn = _draw_queries(relevant, seed, _QUERIES)
    return (
        float(recall_at(rankings[drawn], [relevant[q] for q in drawn], 100).mean())
        if len(drawn)
        else math.nan
    )


def _draw_queries(relevant: Sequence[Ids], seed: int, queries: int) -> Ids:
    """Sample queries that have relevant ids, without repeats; fewer if there are too few."""
    counted = np.array([q for q, relevant_ids in enumerate(relevant) if len(relevant_ids)], dtype=np.int64)
    return np.random.default_rng(seed).permutation(counted)[:queries]


@torch.inference_mode()
def rank(model: Seq2Seq, trie: Trie, pixels: Tensor, beam: int) -> Ids:
    """Ids (Q, min(beam, N)), best first, of uint8 pixels (Q, 3, S, S)."""
    model.eval()
    device = next(model.parameters()).device
    batch = max(1, min(64, 20_000 // beam))
    found = [
        beam_search(model, part.to(device), trie, beam)[0].cpu().numpy()
        for part in torch.split(pixels, batch)
    ]
    return np.concatenate(found)


def model_figures(
    model: Seq2Seq, trie: Trie, indexed: Tensor, queries: Tensor, relevant: Sequence[Ids], seed: int
) -> dict[str, Any]:
    """`figures` of a trained model; queries are scored against all ids, so no beam cuts their lists."""
    count = len(indexed)
    own = rank(model, trie, indexed, min(count, _OWN_BEAM))
    return figures(own, rank(model, trie, queries, count), relevant, count, seed)


def chance_figures(rankings: Ids, relevant: Sequence[Ids], indexed: int) -> dict[str, Any]:
    """What a uniformly random ranking reaches, in closed form; no interval, as nothing is sampled."""
    measured = indexing_accuracy(rankings[:, :5], np.zeros(len(rankings), dtype=np.int64), indexed)
    measured |= summarise(rankings, relevant, indexed, METRICS[2:])
    metrics = {
        name: {**metric.as_dict(), "value": _number(metric.chance), "ci95": [None, None]}
        for name, metric in measured.items()
    }
    paper = {"IA@1": metrics["IA@1"]["value"], "IA@5": metrics["IA@5"]["value"]}
    paper |= {"MAP@10": metrics["P@10"]["value"], "Recall@100": metrics["Recall@100"]["value"]}
    return {"metrics": metrics, "paper": paper}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
