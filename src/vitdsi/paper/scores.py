"""The metrics of a cell: by their standard definitions, and by those of the paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi.evaluation.metrics import (
    average_precision_at,
    hit_at,
    indexing_accuracy,
    precision_at,
    recall_at,
    summarise,
)
from vitdsi.ids.trie import Trie
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.search.beam import beam_search

METRICS = ("IA@1", "IA@5", "P@10", "MAP@10", "Recall@100")
_PAPER_QUERIES = 10
_INDEXED_BEAM = 32  # for IA only; test queries are ranked against all ids

Ids = npt.NDArray[np.int64]


def score_rankings(
    own: Ids, rankings: Ids, relevant: Sequence[Ids], indexed: int, seed: int
) -> dict[str, Any]:
    """Compute the metrics of rankings.

    Args:
        own: (N, >= 5) ranked ids for each indexed image, in the order of ids.
        rankings: (Q, N) ranked ids for each test query.
        relevant: relevant ids of each test query.
        indexed: number of indexed images, N.
        seed: seed of the sample of queries for the paper's metrics.

    Returns:
        `metrics` by standard definitions over all queries, with chance level and interval; `values`, the metrics of
        each test query (of IA@1, of each indexed image), for paired comparisons; and `paper` by the paper's definitions
        over ten queries.
    """
    measured = indexing_accuracy(own, np.arange(indexed), indexed)
    measured |= summarise(rankings, relevant, indexed, METRICS[2:])
    paper = {
        "IA@1": measured["IA@1"].value,
        "IA@5": measured["IA@5"].value,
        "MAP@10": _number(paper_map_at_10(rankings, relevant, seed=seed)),
        "Recall@100": _number(paper_recall_at_100(rankings, relevant, seed=seed)),
    }
    values = {
        "IA@1": hit_at(own, np.arange(indexed), 1),
        "P@10": precision_at(rankings, relevant, 10),
        "MAP@10": average_precision_at(rankings, relevant, 10),
        "Recall@100": recall_at(rankings, relevant, 100),
    }
    return {
        "metrics": {name: metric.as_dict() for name, metric in measured.items()},
        "values": {name: np.round(each, 6).tolist() for name, each in values.items()},
        "paper": paper,
    }


def paper_map_at_10(
    rankings: Ids, relevant: Sequence[Ids], *, seed: int, queries: int = _PAPER_QUERIES
) -> float:
    """MAP@10 as the paper defines it: the mean P@10 of ten sampled queries, or NaN if no query has relevant ids.

    Use it for comparisons with the paper only; `summarise` computes MAP@10 by its standard definition over all queries.
    """
    drawn = _draw_queries(relevant, seed, queries)
    return (
        float(precision_at(rankings[drawn], [relevant[q] for q in drawn], 10).mean())
        if len(drawn)
        else math.nan
    )


def paper_recall_at_100(rankings: Ids, relevant: Sequence[Ids], *, seed: int) -> float:
    """The paper's Recall@100: the mean over the same ten queries that `paper_map_at_10` samples, or NaN."""
    drawn = _draw_queries(relevant, seed, _PAPER_QUERIES)
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
    """Rank ids for uint8 pixels (Q, 3, S, S): (Q, min(beam, N)), best first."""
    model.eval()
    device = next(model.parameters()).device
    batch = max(1, min(64, 20_000 // beam))
    found = [
        beam_search(model, part.to(device), trie, beam)[0].cpu().numpy()
        for part in torch.split(pixels, batch)
    ]
    return np.concatenate(found)


def score_model(
    model: Seq2Seq, trie: Trie, indexed: Tensor, queries: Tensor, relevant: Sequence[Ids], seed: int
) -> dict[str, Any]:
    """Compute the metrics of a model, as `score_rankings` does. Test queries are ranked against all ids.

    Args:
        model: the model.
        trie: its ids.
        indexed: uint8 pixels (N, 3, S, S) of the indexed images, in the order of ids.
        queries: uint8 pixels (Q, 3, S, S) of the test queries.
        relevant: relevant ids of each test query.
        seed: seed of the sample of queries for the paper's metrics.
    """
    count = len(indexed)
    own = rank(model, trie, indexed, min(count, _INDEXED_BEAM))
    return score_rankings(own, rank(model, trie, queries, count), relevant, count, seed)


def score_chance(rankings: Ids, relevant: Sequence[Ids], indexed: int) -> dict[str, Any]:
    """The expected metrics of a uniformly random ranking, in closed form and so without intervals or values.

    Args:
        rankings: (Q, N) any ranking of the ids for each test query; only its shape matters.
        relevant: relevant ids of each test query.
        indexed: number of indexed images, N.
    """
    measured = indexing_accuracy(rankings[:, :5], np.zeros(len(rankings), dtype=np.int64), indexed)
    measured |= summarise(rankings, relevant, indexed, METRICS[2:])
    metrics = {
        name: {**metric.as_dict(), "value": _number(metric.chance), "ci95": [None, None]}
        for name, metric in measured.items()
    }
    paper = {"IA@1": metrics["IA@1"]["value"], "IA@5": metrics["IA@5"]["value"]}
    paper |= {"MAP@10": metrics["P@10"]["value"], "Recall@100": metrics["Recall@100"]["value"]}
    return {"metrics": metrics, "values": {}, "paper": paper}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
