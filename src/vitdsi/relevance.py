"""The label-free teacher: an image's nearest others in the backbone's feature space."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_MOST_EACH = 0.01


def nearest(
    queries: Tensor, features: Tensor, k: int, *, exclude_own: bool, chunk: int = 1024
) -> tuple[Tensor, Tensor]:
    """The k nearest rows of `features` (N, F) by cosine for each query (Q, F).

    With `exclude_own`, row i of `features` is not among query i's. Returns ids (Q, k') and cosines (Q, k'), nearest
    first, k' = min(k, rows left).
    """
    database = F.normalize(features.float(), dim=-1)
    k = min(k, len(features) - int(exclude_own))
    ids, cosines = [], []
    for start in range(0, len(queries), chunk):
        similarity = F.normalize(queries[start : start + chunk].float(), dim=-1) @ database.T
        if exclude_own:
            rows = torch.arange(len(similarity))
            similarity[rows, rows + start] = -torch.inf
        top = similarity.topk(k, dim=1)
        ids.append(top.indices)
        cosines.append(top.values)
    return torch.cat(ids), torch.cat(cosines)


def neighbours_among(count: int, most: int) -> int:
    """How many neighbours of an image are relevant to it: `most`, but no more than a tenth of the collection."""
    return max(1, min(most, count // 10))


def neighbour_weights(cosines: Tensor, temperature: float) -> Tensor:
    """Relevance (Q, K) that sums to 1: softmax of the cosines over the temperature (graded relevance)."""
    return torch.softmax(cosines / temperature, dim=-1)


def teacher_weights(cosines: Tensor, temperature: float, own_mass: float) -> Tensor:
    """Relevance (Q, 1 + K) of an image itself and of its K neighbours, from their cosines (Q, K); sums to 1.

    The neighbours share 1 - own_mass, but no more than a hundredth each: where there are few, none may rival the image.
    """
    mass = min(1 - own_mass, _MOST_EACH * cosines.shape[1])
    own = torch.full((len(cosines), 1), 1 - mass)
    return torch.cat([own, mass * neighbour_weights(cosines, temperature)], dim=1)
