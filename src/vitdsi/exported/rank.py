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
from vitdsi.search.ranking import Ranking

__all__ = ["Scoring", "most_alike", "rank"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scoring:
    """How the evidence for a candidate becomes its relevance and its score; see `vitdsi.search.evidence`.

    Attributes:
        categories: how many numbers at the end of an embedding compare what photos show.
        part_penalty: on the cosine of a part of a query that is not the whole.
        parts_above: by which the cosine of pictures must exceed more where a query was read in several parts.
        first: sharpness s and weight w of a claim to the first place, the logarithm of the mean of exp(s cosine) over
            the parts + w log p; None leaves the order to the relevance.
        first_above: what the strongest claim must exceed to have the first place; None gives it that of any query in
            several parts, and of no other.
        log_prob, picture, category: weights of the relevance.
        picture_above: only what the cosine of pictures exceeds this by counts; None counts all of it.
        weights, bias: of the score, which is a sigmoid; None if the score is the probability of the decoder.
        lowest_log_prob: lower log-probabilities count as this one in a score.
        whole_picture: the weight of the whole cosine of pictures beside what counts of it. Former exports have none.
    """

    categories: int
    part_penalty: float
    log_prob: float
    picture: float
    category: float
    picture_above: float | None
    weights: Sequence[float] | None
    bias: float
    lowest_log_prob: float
    parts_above: float = 0.0
    first: Sequence[float] | None = None
    first_above: float | None = None
    whole_picture: float = 0.0

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Scoring:
        """Return the values of a manifest."""
        return cls(**values)

    def relevance(self, evidence: Floats, parts: int = 1) -> Floats:
        """Return the relevance (K,) of candidates with this evidence (K, 3), for a query in so many parts."""
        log_prob, picture, category = evidence.T
        counted = picture
        if self.picture_above is not None:
            above = self.picture_above + (self.parts_above if parts > 1 else 0.0)
            counted = np.maximum(picture - np.float32(above), 0)
        found: Floats = (
            np.float32(self.category) * category
            + np.float32(self.log_prob) * log_prob
            + np.float32(self.picture) * counted
            + np.float32(self.whole_picture) * picture
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
    value = scoring.relevance(evidence, len(found)) if rerank else log_probs
    if rerank and scoring.first and len(ids) and (len(found) > 1 or scoring.first_above is not None):
        sharpness, weight = map(np.float32, scoring.first)
        likeness = np.logaddexp.reduce(sharpness * pictures, axis=1) - np.log(pictures.shape[1])
        claim = np.where(blocks == 0, likeness + weight * log_probs, -np.inf)
        if scoring.first_above is None or claim.max() > scoring.first_above:
            value[claim.argmax()] = np.inf
    order = np.lexsort((-value, blocks))[:most]
    ids, evidence = ids[order], evidence[order]
    places = np.full(len(ids), NONE)
    at, place = np.nonzero(ids[:, None] == also)
    places[at] = place
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
