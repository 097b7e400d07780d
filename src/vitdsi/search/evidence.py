"""Evidence: what speaks for a candidate, and the relevance that results are ordered by.

Each quantity depends on the query and on one image alone: never on k, on the other queries, on a filter or on what was
removed. So neither does the relevance of an image, nor its score (`vitdsi.search.calibrate`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.search.ranking import FirstPlace
from vitdsi.state import IndexState

LOWEST_LOG_PROB = -30.0  # lower log-probabilities count as this one in a score
PART_PENALTY = 0.05  # on the cosine of a part of a query
FIRST_SHARPNESS = 10.0  # of the likeness in a claim to the first place
_FIRST_LOG_PROB_WEIGHT = 0.2  # in a claim to the first place
_FIRST_OF_CLASSES = 0.05  # is added to d with classes, where a wrong first place costs more
_SAME_WEIGHT = 20.0  # of the cosine of pictures in the relevance, beyond a threshold
_SAME_ABOVE = 0.15  # is added to d for that threshold


class Seen(NamedTuple):
    """What speaks for K candidates of B queries that were read in parts.

    Attributes:
        evidence: (B, K, 3), see `evidence`.
        part: (B, K) the part that is most like each candidate.
        likeness: (B, K) the logarithm of the mean of exp(10 c) over the parts, with the cosine of pictures c of each.
    """

    evidence: Tensor
    part: Tensor
    likeness: Tensor


def evidence(state: IndexState, ids: Tensor, log_probs: Tensor, embedding: Tensor) -> Tensor:
    """Return the evidence (B, K, 3) for candidates.

    Its columns are the log-probability, in nats; the cosine between the picture parts of the query's embedding and of
    the vector that the head keeps for the image; and the cosine between their category parts. A model whose vectors do
    not start from features, or without category parts, has zeros in their places.

    Args:
        ids: (B, K) ids; where they are NONE, the evidence has no meaning.
        log_probs: (B, K) their log-probabilities.
        embedding: (B, E) the embeddings of the queries, unit vectors.
    """
    return merged_evidence(state, ids, log_probs, embedding[:, None]).evidence


def merged_evidence(state: IndexState, ids: Tensor, log_probs: Tensor, embedding: Tensor) -> Seen:
    """Return what speaks for candidates of queries that were read in R parts, first the whole photo.

    The cosine of pictures is that of the whole, or that of the part that is most like the image less 0.05, since the
    best of several wrong parts is that much more like an image than the whole is. The cosine of categories is that of
    the whole.

    Args:
        ids: (B, K) ids; where they are NONE, the evidence has no meaning.
        log_probs: (B, K) their log-probabilities.
        embedding: (B, R, E) the embeddings of the parts, unit vectors.
    """
    picture = category = likeness = torch.zeros_like(log_probs)
    part = torch.zeros_like(ids)
    if state.reranks_by_default:
        vectors = state.model.head.vectors(ids.clamp(min=0))
        split = embedding.shape[-1] - state.model.stem.categories
        pictures = F.normalize(vectors[..., :split], dim=-1) @ F.normalize(embedding[..., :split], dim=-1).mT
        likeness = (FIRST_SHARPNESS * pictures).logsumexp(-1) - math.log(pictures.shape[-1])
        pictures[..., 1:] -= PART_PENALTY
        picture, part = pictures.max(-1)
        if state.model.stem.categories:
            category = F.cosine_similarity(vectors[..., split:], embedding[:, :1, split:], dim=-1)
    return Seen(torch.stack([log_probs, picture, category], dim=-1), part, likeness)


def first_place(state: IndexState, parts: int = 1) -> FirstPlace | None:
    """Return what decides the first place for queries in so many parts; None if the relevance does.

    The relevance is that of kinship. A picture that the collection has comes before its kin: the strongest claim has
    the first place if it exceeds 10 d, where d is `Calibration.different_pictures` and with classes 0.05 more; for
    queries in several parts without classes it has it in any case. For these, and with classes, log p counts in a
    claim. Models without category parts have no such place.
    """
    if not state.reranks_by_default or not state.model.stem.categories:
        return None
    d = state.report.calibration.different_pictures
    if state.resolved.labels == "folder":
        return FirstPlace(_FIRST_LOG_PROB_WEIGHT, FIRST_SHARPNESS * (d + _FIRST_OF_CLASSES))
    return FirstPlace(0.0, FIRST_SHARPNESS * d) if parts == 1 else FirstPlace(_FIRST_LOG_PROB_WEIGHT, None)


def claims(seen: Seen, first: FirstPlace) -> Tensor:
    """Return how strong the claims (B, K) of candidates to the first place are: likeness + w log p.

    They join what all parts of a query say of a picture, whereas the relevance counts the part that is most like it.
    """
    return seen.likeness + first.log_prob * seen.evidence[..., 0]


class RelevanceWeights(NamedTuple):
    """What the evidence of a candidate is weighed with; EXPERIMENTS.md has the evidence for the values.

    Attributes:
        log_prob, picture, category: the weights.
        same: a further weight of what the cosine of pictures exceeds `same_above` by.
    """

    log_prob: float
    picture: float
    category: float
    same: float = 0.0
    same_above: float = 0.0


def relevance_weights(state: IndexState) -> RelevanceWeights:
    """Return the weights that `relevance` is computed with for queries that show pictures."""
    if not state.model.stem.categories:
        return RelevanceWeights(log_prob=0.3, picture=15.0, category=0.0)
    if state.resolved.labels == "folder":
        return RelevanceWeights(log_prob=0.02, picture=0.2, category=1.0)
    above = state.report.calibration.different_pictures + _SAME_ABOVE
    return RelevanceWeights(log_prob=0.01, picture=0.5, category=1.0, same=_SAME_WEIGHT, same_above=above)


def relevance(state: IndexState, found: Tensor, pictures: bool = True) -> Tensor:
    """Return the relevance (B, K) of candidates with this evidence (B, K, 3).

    It is

        category + 0.5 picture + 0.01 log p + 20 max(0, picture - d - 0.15),

    where d is `Calibration.different_pictures`: what shows the same kind of thing and looks alike comes first, after
    further images of the same picture. With classes it is category + 0.2 picture + 0.02 log p, since a picture that
    looks alike may be of another class. Models without category parts have 0.3 log p + 15 picture.

    Without `pictures`, which is how texts are searched, it is the cosine of categories alone where there are any.
    """
    log_prob, picture, category = found.unbind(-1)
    if state.model.stem.categories and not pictures:
        return category
    weights = relevance_weights(state)
    same = weights.same * (picture - weights.same_above).clamp(min=0)
    return weights.category * category + weights.log_prob * log_prob + weights.picture * picture + same


def probability(state: IndexState, found: Tensor) -> Tensor:
    """Return the probability (B, K) that candidates with this evidence (B, K, 3) are right.

    An index that has neither cosines nor a calibration gives the probability of the decoder.
    """
    calibration = state.report.calibration
    if not calibration.images and not state.reranks_by_default:
        return found[..., 0].exp()
    clipped = torch.cat([found[..., :1].clamp(min=LOWEST_LOG_PROB), found[..., 1:]], dim=-1)
    weights = torch.tensor(calibration.weights, dtype=found.dtype, device=found.device)
    return torch.sigmoid(clipped @ weights + calibration.bias)
