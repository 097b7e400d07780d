"""The label-free teacher: an image's nearest others in the backbone's feature space."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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


def neighbour_weights(cosines: Tensor, temperature: float) -> Tensor:
    """Relevance (Q, K) that sums to 1: softmax of the cosines over the temperature (graded relevance)."""
    return torch.softmax(cosines / temperature, dim=-1)
