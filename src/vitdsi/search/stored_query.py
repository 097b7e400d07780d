"""Images of the index as queries: by their stored features, or by the vectors that the head keeps for them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.errors import UsageError
from vitdsi.state import IndexState

__all__ = ["stored_queries"]


@torch.inference_mode()
def stored_queries(state: IndexState, ids: Tensor) -> tuple[Tensor, bool]:
    """Return what `rank` searches with for the images of ids (n,), and whether these are embeddings.

    Returns:
        The stored features (n, *shape) and False; or, where the index keeps none, the vectors that the head keeps for
        the images (n, E), unit vectors, and True.

    Raises:
        UsageError: the index keeps no features, and its model does not start from embeddings.
    """
    if state.features is not None:
        return state.features[ids], False
    if not state.reranks_by_default:
        raise UsageError(
            "the index keeps no features, and its model cannot search with anything else; search with the photo"
        )
    vectors = state.model.head.vectors(ids.to(next(state.model.parameters()).device))
    return F.normalize(vectors, dim=-1), True
