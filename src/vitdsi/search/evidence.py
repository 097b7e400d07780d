"""Evidence: what speaks for a candidate, and the relevance that results are ordered by.

Each quantity depends on the query and on one image alone: never on k, on the other queries, on a filter or on what was
removed. So neither does the order of two images, nor the score that is computed from them (`vitdsi.search.calibrate`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.state import IndexState

LOWEST_LOG_PROB = -30.0  # lower log-probabilities count as this one in a score

# Weights of the relevance; EXPERIMENTS.md has the evidence.
_LOG_PROB_WEIGHT, _LOG_PROB_WEIGHT_OF_CLASSES = 0.05, 0.1
_PICTURE_WEIGHT = 10.0
_DIFFERENT_PICTURES = 0.25  # a cosine that photos of different pictures rarely exceed
_LOG_PROB_WEIGHT_WITHOUT_CATEGORIES, _PICTURE_WEIGHT_WITHOUT_CATEGORIES = 0.3, 15.0


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
    picture = category = torch.zeros_like(log_probs)
    if state.reranks_by_default:
        vectors = state.model.head.vectors(state.trie, ids.clamp(min=0))
        split = embedding.shape[-1] - state.model.stem.categories
        picture = F.cosine_similarity(vectors[..., :split], embedding[:, None, :split], dim=-1)
        if state.model.stem.categories:
            category = F.cosine_similarity(vectors[..., split:], embedding[:, None, split:], dim=-1)
    return torch.stack([log_probs, picture, category], dim=-1)


def relevance(state: IndexState, found: Tensor) -> Tensor:
    """Return the relevance (B, K) of candidates with this evidence (B, K, 3).

    With category parts it is

        category + 0.05 log p + 10 max(0, picture - 0.25):

    what shows the same picture comes first, and what shows the same kind of thing follows. With classes it is
    category + 0.1 log p, since a picture that looks alike may be of another class. Models without category parts have
    0.3 log p + 15 picture.
    """
    log_prob, picture, category = found.unbind(-1)
    if not state.model.stem.categories:
        return _LOG_PROB_WEIGHT_WITHOUT_CATEGORIES * log_prob + _PICTURE_WEIGHT_WITHOUT_CATEGORIES * picture
    if state.resolved.labels == "folder":
        return category + _LOG_PROB_WEIGHT_OF_CLASSES * log_prob
    same = _PICTURE_WEIGHT * (picture - _DIFFERENT_PICTURES).clamp(min=0)
    return category + _LOG_PROB_WEIGHT * log_prob + same


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
