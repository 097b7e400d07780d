"""Taking some images of an index: all columns of its state, for another trie."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from vitdsi.ids.trie import NONE, Trie
from vitdsi.state import IndexState


def taken(state: IndexState, ids: Tensor, trie: Trie) -> IndexState:
    """Return the state with the images `ids` (n,) alone, which are numbered 0, 1, ... and have the codes of `trie`.

    The ids are ascending. The model stays that of the former trie; graft it afterwards, or train another.
    """
    kept = ids.tolist()
    return replace(
        state,
        trie=trie,
        image_ids=state.image_ids.take(ids.numpy()),
        labels=None if state.labels is None else state.labels.take(ids.numpy()),
        hashes=state.hashes.take(ids.numpy()),
        features=None if state.features is None else state.features[ids],
        thumbnails=None if state.thumbnails is None else state.thumbnails.take(ids.numpy()),
        keypoints=None if state.keypoints is None else state.keypoints.take(kept),
        metadata=state.metadata.take(kept),
        held_out=None
        if state.held_out is None
        else state.held_out.with_ids(_renumbered(state.held_out.ids, ids)),
    )


def _renumbered(ids: Tensor, live: Tensor) -> Tensor:
    """Return the places (H,) of ids among the sorted ids `live` (n,), NONE for those that are not there."""
    places = torch.searchsorted(live, ids).clamp(max=len(live) - 1)
    return torch.where(live[places] == ids, places, NONE)
