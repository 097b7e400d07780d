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

from vitdsi.state import IndexState

LOWEST_LOG_PROB = -30.0  # lower log-probabilities count as this one in a score

# Weights of the relevance; EXPERIMENTS.md has the evidence.
_LOG_PROB_WEIGHT, _LOG_PROB_WEIGHT_OF_CLASSES, _PICTURE_WEIGHT_OF_CLASSES = 0.01, 0.02, 0.2
_PICTURE_WEIGHT, _WHOLE_PICTURE_WEIGHT = 20.0, 0.5
_LOG_PROB_WEIGHT_WITHOUT_VIEWS, _PICTURE_WEIGHT_WITHOUT_VIEWS = 0.05, 10.0
PART_PENALTY = 0.05  # on the cosine of a part of a query
PARTS_ABOVE = 0.08  # by which the cosine must exceed more where a query was read in several parts
FIRST_SHARPNESS, FIRST_LOG_PROB_WEIGHT = 10.0, 0.2  # of what decides the first place of such a query
_LOG_PROB_WEIGHT_WITHOUT_CATEGORIES, _PICTURE_WEIGHT_WITHOUT_CATEGORIES = 0.3, 15.0


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


def claim_to_first(seen: Seen) -> Tensor:
    """Return how strong the claim (B, K) of candidates to the first place is: likeness + 0.2 log p.

    It joins what all parts of a query say of a picture with what the decoder says, whereas the relevance counts the
    part that is most like it alone, and only if it is like it beyond doubt.
    """
    return seen.likeness + FIRST_LOG_PROB_WEIGHT * seen.evidence[..., 0]


def least_claim_to_first(state: IndexState, parts: int = 1) -> float | None:
    """Return what the strongest claim must exceed to have the first place; None if relevance decides alone.

    Without classes it always has it for queries in several `parts`, and never for others, whose relevance knows the
    same picture already. With classes, whose relevance is that of kinship, a claim of more than 10 d has it, where d is
    `Calibration.different_pictures`: a picture that the collection has comes first, and its class follows. An index
    that was built without hard views does not know d.
    """
    if not state.reranks_by_default or not state.model.stem.categories:
        return None
    if state.resolved.labels == "folder":
        d = state.report.calibration.different_pictures
        return FIRST_SHARPNESS * d if state.resolved.training.hard_views else None
    return -math.inf if parts > 1 else None


class RelevanceWeights(NamedTuple):
    """What the evidence of a candidate is weighed with.

    Attributes:
        log_prob, picture, category: the weights.
        picture_above: only what the cosine of pictures exceeds this by counts; None counts all of it.
        whole_picture: the weight of the whole cosine of pictures beside what counts of it.
    """

    log_prob: float
    picture: float
    category: float
    picture_above: float | None = None
    whole_picture: float = 0.0


def relevance_weights(state: IndexState, parts: int = 1) -> RelevanceWeights:
    """Return the weights that `relevance` is computed with, for queries in so many parts that show pictures."""
    if not state.model.stem.categories:
        return RelevanceWeights(_LOG_PROB_WEIGHT_WITHOUT_CATEGORIES, _PICTURE_WEIGHT_WITHOUT_CATEGORIES, 0.0)
    if state.resolved.labels == "folder":
        return RelevanceWeights(_LOG_PROB_WEIGHT_OF_CLASSES, _PICTURE_WEIGHT_OF_CLASSES, 1.0)
    above = state.report.calibration.different_pictures + (PARTS_ABOVE if parts > 1 else 0.0)
    if not state.resolved.training.hard_views:
        return RelevanceWeights(_LOG_PROB_WEIGHT_WITHOUT_VIEWS, _PICTURE_WEIGHT_WITHOUT_VIEWS, 1.0, above)
    return RelevanceWeights(_LOG_PROB_WEIGHT, _PICTURE_WEIGHT, 1.0, above, _WHOLE_PICTURE_WEIGHT)


def relevance(state: IndexState, found: Tensor, pictures: bool = True, parts: int = 1) -> Tensor:
    """Return the relevance (B, K) of candidates with this evidence (B, K, 3).

    With category parts it is

        category + 0.5 picture + 0.01 log p + 20 max(0, picture - d),

    where d is `Calibration.different_pictures`, and 0.08 more for queries in several `parts`, the best of which is more
    like any image: what shows the same picture comes first, and what shows the same kind of thing follows. An index
    that was built without hard views has category + 0.05 log p + 10 max(0, picture - d). With classes the relevance is
    category + 0.2 picture + 0.02 log p, since a picture that looks alike may be of another class. Models without
    category parts have 0.3 log p + 15 picture.

    Without `pictures`, which is how texts are searched, it is the cosine of categories alone where there are any.
    """
    log_prob, picture, category = found.unbind(-1)
    if state.model.stem.categories and not pictures:
        return category
    weights = relevance_weights(state, parts)
    counted = picture
    if weights.picture_above is not None:
        counted = (picture - weights.picture_above).clamp(min=0)
    found = weights.category * category + weights.log_prob * log_prob + weights.picture * counted
    return found + weights.whole_picture * picture if weights.whole_picture else found


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
