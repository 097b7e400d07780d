"""Relevance from labels, or without labels from a teacher: the nearest neighbours by what photos show."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vitdsi.config import TrainingConfig
from vitdsi.errors import UsageError
from vitdsi.ids.trie import NONE, Trie
from vitdsi.neighbours import Neighbours
from vitdsi.training.targets import GroupRelevance, WeightedRelevance

_MAX_NEIGHBOUR_WEIGHT = 0.01  # keeps few neighbours far below the image itself
_BLOCK = 16_384  # rows whose lists are made together, to bound the memory
_MAX_NEIGHBOUR_SHARE = 10  # at most one in this number of images is a neighbour


def label_relevance(trie: Trie, labels: Sequence[str], query_labels: Sequence[str]) -> GroupRelevance:
    """Make all images of the class of a query equally relevant to it.

    Args:
        labels: the class of each of the N ids.
        query_labels: the class of each of the Q query rows, which may be those of `labels` themselves.

    Raises:
        UsageError: a query with a class that no indexed image has.
    """
    number = {label: i for i, label in enumerate(sorted(set(labels)))}
    unknown = sorted(set(query_labels) - set(number))
    if unknown:
        given, known = ", ".join(unknown[:5]), ", ".join(number)
        raise UsageError(f"the queries have classes {given}; the indexed images have {known}")
    groups = torch.tensor([number[label] for label in query_labels])
    return GroupRelevance(trie, torch.tensor([number[label] for label in labels]), groups)


def own_relevance(count: int) -> WeightedRelevance:
    """Make only image i relevant to row i of `count`: for pixels, which have no teacher."""
    return WeightedRelevance(torch.arange(count)[:, None], torch.ones(count, 1))


def teacher_relevance(
    vectors: Tensor, ids: Tensor, rows: Tensor, config: TrainingConfig, queries: Tensor | None = None
) -> WeightedRelevance:
    """Make an image and its nearest neighbours relevant to it, weighted by the softmax of their cosines.

    Args:
        vectors: (N, F) vectors of all ids: their category vectors, or pooled features where a model has none.
        ids: (n,) the live ids, sorted: the candidates.
        rows: (R,) ids whose lists are filled. The lists of other ids stay empty.
        config: neighbours, temperature and self_weight are used.
        queries: (M, F) vectors of further photos, which become the rows N, N + 1, ... Only their neighbours
            are relevant to them.

    In a very large collection the neighbours are found approximately (see `vitdsi.neighbours.Neighbours`).
    """
    count = len(vectors)
    if len(ids) == 1:
        only = ids[0].expand(count + (0 if queries is None else len(queries)), 1)
        return WeightedRelevance(only, torch.ones(only.shape))
    k = min(max(1, min(config.neighbours, len(ids) // _MAX_NEIGHBOUR_SHARE)) + 1, len(ids))
    more = 0 if queries is None else len(queries)
    candidates = Neighbours(vectors[ids], len(rows) + more)
    relevant = torch.full((count + more, k), NONE, dtype=torch.int32)
    weights = torch.zeros(relevant.shape, dtype=torch.float16)
    for block in torch.split(rows, _BLOCK):
        found, cosines = candidates.search(vectors[block], k)
        found, cosines = _without_own(ids[found], cosines, block)
        relevant[block] = torch.cat([block[:, None], found], dim=1).int()
        weights[block] = _teacher_weights(cosines, config.temperature, config.self_weight).half()
    if queries is not None and more:
        found, cosines = candidates.search(queries, k)
        relevant[count:], weights[count:] = ids[found].int(), _softmax(cosines, config.temperature).half()
    return WeightedRelevance(relevant, weights, recall=candidates.recall(k))


def _without_own(found: Tensor, cosines: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Drop the id of its own row from each list (R, k + 1), or the last id if the own one is not in it."""
    own = found == rows[:, None]
    own[:, -1] |= ~own.any(1)
    return found[~own].view(len(rows), -1), cosines[~own].view(len(rows), -1)


def _softmax(cosines: Tensor, temperature: float) -> Tensor:
    """Return weights (Q, K) that sum to 1."""
    return torch.softmax(cosines / temperature, dim=-1)


def _teacher_weights(cosines: Tensor, temperature: float, self_weight: float) -> Tensor:
    """Return weights (Q, 1 + K) of an image and of its K neighbours with cosines (Q, K); they sum to 1.

    The neighbours share 1 - self_weight, but on average at most 1 % each.
    """
    share = min(1 - self_weight, _MAX_NEIGHBOUR_WEIGHT * cosines.shape[1])
    own = torch.full((len(cosines), 1), 1 - share)
    return torch.cat([own, share * _softmax(cosines, temperature)], dim=1)
