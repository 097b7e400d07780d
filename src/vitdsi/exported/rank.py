"""Ranking the candidates of a query in NumPy: the same evidence, relevance and scores as `vitdsi.search`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vitdsi.exported.best_first import Found
from vitdsi.exported.decoding import Decoding
from vitdsi.exported.heads import Rows
from vitdsi.exported.trie import NONE
from vitdsi.search.ranking import FirstPlace, Ranking

__all__ = ["Scoring", "most_alike", "rank"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scoring:
    """How the evidence for a candidate becomes its relevance and its score; see `vitdsi.search.evidence`.

    Attributes:
        categories: how many numbers at the end of an embedding compare what photos show.
        part_penalty: on the cosine of a part of a query that is not the whole.
        log_prob, picture, category: weights of the relevance.
        same: a further weight of what the cosine of pictures exceeds `same_above` by.
        weights, bias: of the score, which is a sigmoid; None if the score is the probability of the decoder.
        lowest_log_prob: lower log-probabilities count as this one in a score.
        sharpness: s of the likeness of a query, the logarithm of the mean of exp(s cosine) over its parts.
        first, first_of_parts: what decides the first place for a query that was read whole, and for one in several
            parts; None if the relevance does.
    """

    categories: int
    part_penalty: float
    log_prob: float
    picture: float
    category: float
    same: float
    same_above: float
    weights: Sequence[float] | None
    bias: float
    lowest_log_prob: float
    sharpness: float
    first: FirstPlace | None
    first_of_parts: FirstPlace | None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Scoring:
        """Return the values of a manifest."""
        first, parts = (
            None if values[name] is None else FirstPlace(**values[name])
            for name in ("first", "first_of_parts")
        )
        return cls(**{**values, "first": first, "first_of_parts": parts})

    def relevance(self, evidence: Floats) -> Floats:
        """Return the relevance (K,) of candidates with this evidence (K, 3)."""
        log_prob, picture, category = evidence.T
        found: Floats = (
            np.float32(self.category) * category
            + np.float32(self.log_prob) * log_prob
            + np.float32(self.picture) * picture
            + np.float32(self.same) * np.maximum(picture - np.float32(self.same_above), 0)
        )
        return found

    def scores(self, evidence: Floats) -> Floats:
        """Return the probability (K,) that candidates with this evidence (K, 3) are right."""
        if self.weights is None:
            probabilities: Floats = np.exp(evidence[:, 0])
            return probabilities
        clipped = evidence.copy()
        clipped[:, 0] = np.maximum(clipped[:, 0], self.lowest_log_prob)
        logits = clipped @ np.array(self.weights, np.float32) + np.float32(self.bias)
        found: Floats = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
        return found


def rank(
    decodings: Sequence[Decoding],
    found: Sequence[Found],
    embeddings: Floats,
    leaves: Rows | None,
    scoring: Scoring,
    *,
    rerank: bool,
    block: int,
    also: Array,
    most: int | None,
) -> Ranking:
    """Rank the candidates of a query that was read in R parts, first the whole photo.

    Args:
        decodings, found: of the parts.
        embeddings: (R, E) of the parts, unit vectors.
        leaves: the vector of each id, None if the vectors do not start from features.
        scoring: how evidence is weighed.
        rerank: order candidates by their relevance, and not by their probability.
        block: the candidates are ordered in blocks of so many, so that the pages of a long list are parts of it.
        also: ids that are candidates too, whatever their probability, those that look most like the query first.
        most: how many candidates are kept, None for all of them.
    """
    ids, log_probs = found[0].ids, found[0].log_probs
    blocks = np.arange(len(ids)) // block
    if len(found) > 1 or len(also):
        everything = np.concatenate([*(each.ids for each in found), also])
        blocks = np.concatenate(
            [*(np.arange(len(each.ids)) // block for each in found), np.zeros(len(also), np.int64)]
        )
        order = np.lexsort((blocks, everything))
        ids, first = np.unique(everything[order], return_index=True)
        blocks = blocks[order][first]
        of_parts = np.stack([decoding.log_probs_of(ids) for decoding in decodings])
        log_probs = np.logaddexp.reduce(of_parts) - np.float32(np.log(len(found)))
    evidence, parts, pictures = _evidence(ids, log_probs, embeddings, leaves, scoring)
    value = scoring.relevance(evidence) if rerank else log_probs
    place = scoring.first if len(found) == 1 else scoring.first_of_parts
    if rerank and place is not None and len(ids):
        likeness = np.logaddexp.reduce(np.float32(scoring.sharpness) * pictures, axis=1) - np.log(len(found))
        claims = np.where(blocks == 0, likeness + np.float32(place.log_prob) * log_probs, -np.inf)
        if place.above is None or claims.max() > place.above:
            value[claims.argmax()] = np.inf
    order = np.lexsort((-value, blocks))[:most]
    ids, evidence = ids[order], evidence[order]
    places = np.full(len(ids), NONE)
    at, in_turn = np.nonzero(ids[:, None] == also)
    places[at] = in_turn
    return Ranking(
        ids[None],
        scoring.scores(evidence)[None],
        evidence[None, :, 0],
        parts[order][None],
        np.array([all(each.proven for each in found)]),
        places[None],
    )


def most_alike(ids: Array, k: int, embeddings: Floats, leaves: Rows, scoring: Scoring) -> Array:
    """Return the k of the ids (n,) that look most like any part of a query, the best of each part in turns.

    The arguments are those of `rank`.
    """
    pictures = _unit(embeddings[:, : embeddings.shape[1] - scoring.categories])
    cosines = leaves.cosines(pictures, ids)
    in_turns = ids[np.argsort(-cosines, axis=0, kind="stable")[:k]].ravel()
    distinct, first_at = np.unique(in_turns, return_index=True)
    found: Array = distinct[np.argsort(first_at)][:k]
    return found


def _evidence(
    ids: Array, log_probs: Floats, embeddings: Floats, leaves: Rows | None, scoring: Scoring
) -> tuple[Floats, Array, Floats]:
    """Return the evidence (K, 3), the part (K,) that is most like each candidate, and cosines of pictures (K, R)."""
    evidence, parts = np.zeros((len(ids), 3), np.float32), np.zeros(len(ids), np.int64)
    evidence[:, 0] = log_probs
    if leaves is None or not len(ids):
        return evidence, parts, evidence[:, 1:2]
    vectors, split = leaves.take(ids), embeddings.shape[1] - scoring.categories
    pictures = _unit(vectors[:, :split]) @ _unit(embeddings[:, :split]).T
    less = pictures.copy()
    less[:, 1:] -= np.float32(scoring.part_penalty)
    parts = less.argmax(1)
    evidence[:, 1] = less.max(1)
    if scoring.categories:
        evidence[:, 2] = _unit(vectors[:, split:]) @ _unit(embeddings[:1, split:])[0]
    return evidence, parts, pictures


def _unit(vectors: Floats) -> Floats:
    """Return vectors (n, E) of length 1."""
    found: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return found
