"""An image of the index as a query: by its stored feature, or by the vector that the head keeps for it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.errors import UsageError
from vitdsi.state import IndexState

__all__ = ["stored_query"]


@torch.inference_mode()
def stored_query(state: IndexState, number: int) -> tuple[Tensor, bool]:
    """Return what `rank` searches with for the image of an id, and whether that is an embedding.

    Returns:
        The stored feature (1, *shape) and False; or, where features were dropped, the vector that the head keeps for
        the image (1, E), a unit vector, and True.

    Raises:
        UsageError: the features were dropped, and the model does not start from embeddings.
    """
    if state.features is not None:
        return state.features[number : number + 1], False
    if not state.reranks_by_default:
        raise UsageError(
            "the index keeps no features, and its model cannot search with anything else; search with the photo"
        )
    device = next(state.model.parameters()).device
    vector = state.model.head.vectors(torch.tensor([number], device=device))
    return F.normalize(vector, dim=-1), True
