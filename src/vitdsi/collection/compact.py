"""Compacting an index: removed images are dropped, and the model is trained again if that is worth it."""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from vitdsi.collection.build import rebuild
from vitdsi.collection.take import taken
from vitdsi.config.budget import Budget
from vitdsi.errors import UsageError
from vitdsi.ids.codes import Codes
from vitdsi.ids.trie import Trie
from vitdsi.model.coding import with_row_bytes
from vitdsi.model.graft import graft
from vitdsi.model.heads.rows import largest_divisor
from vitdsi.model.pictures import Pictures
from vitdsi.model.stems.pooled_stem import PooledStem
from vitdsi.progress import OnProgress
from vitdsi.search.calibrate import calibrate
from vitdsi.search.rank import indexing_accuracy
from vitdsi.state import IndexState

# The share of the collection that may be added or removed before the model is trained again.
RETRAIN_CHANGED_SHARE = 0.5


def compact(
    state: IndexState,
    *,
    retrain: bool | None = None,
    keep_features: bool = True,
    budget: Budget | None = None,
    on_progress: OnProgress = None,
) -> IndexState:
    """Return the index with live ids only, numbered 0, 1, ... in their previous order.

    Removed ids leave the trie for good, so the probabilities that they had in a node are shared by what is left there.
    It is the only change of an index that moves probabilities without training.

    Args:
        retrain: whether to build the index again from the stored features, with new ids. None does so if the index lost
            accuracy, or if more than half of it was added or removed since it was built.
        keep_features: keep the stored features, with which later additions are learned best.
        budget: what to keep of each image; None keeps what there is.

    Raises:
        UsageError: `retrain` is set and the state has no features, or no image is left.
    """
    if budget is not None:
        state = _within(state, budget)
    live = state.trie.live_ids()
    if not len(live):
        raise UsageError("every image was removed; make a new index with: vitdsi index IMAGES -o INDEX.dsi")
    if retrain is None:
        retrain = state.features is not None and _needs_training(state)
    if retrain and state.features is None:
        raise UsageError(
            "neither the index nor the feature cache has the features of all images, so the model cannot be trained"
            " again; make a new index of the images"
        )
    kept = live.tolist()
    trie = Trie(_without_empty_columns(state.trie.codes[live], state.trie), state.trie.vocabulary.base)
    small = replace(taken(state, live, trie), changes=state.changed("compact", len(kept)))
    if retrain:
        small = rebuild(small, _pictures(state, live), on_progress)
    else:
        model, _ = graft(state.model, state.trie, trie, state.resolved.seed, live)
        small = calibrate(replace(small, model=model))
    return small if keep_features else replace(small, features=None, thumbnails=None)


def _within(state: IndexState, budget: Budget) -> IndexState:
    """Return the state with no more of each image than the budget allows. It also holds for later additions."""
    requested, resolved = (
        replace(config, **budget.as_settings()) for config in (state.requested, state.resolved)
    )
    resolved = replace(
        resolved, vector_bytes=largest_divisor(resolved.model.embedding_dim, budget.vector_bytes)
    )
    keypoints = state.keypoints.strongest(budget.keypoints) if state.keypoints and budget.keypoints else None
    return replace(
        state,
        requested=requested,
        resolved=resolved,
        model=with_row_bytes(state.model, state.trie, resolved.vector_bytes, resolved.seed),
        thumbnails=state.thumbnails if budget.thumbnails else None,
        keypoints=keypoints,
    )


def _pictures(state: IndexState, live: Tensor) -> Pictures | None:
    """Return what the model knows about the pictures of live ids, if it learned that from hard views."""
    vectors = state.picture_vectors()
    if vectors is None or not state.resolved.training.hard_views:
        return None
    stem = state.model.stem
    assert isinstance(stem, PooledStem)
    weight = stem.principal.weight.detach().cpu()
    return Pictures(stem.mean.cpu(), weight, F.normalize(vectors[live], dim=1))


def _needs_training(state: IndexState) -> bool:
    changed = sum(change.images for change in state.changes if change.verb in ("add", "remove"))
    if changed > RETRAIN_CHANGED_SHARE * len(state.trie.live_ids()):
        return True
    found = indexing_accuracy(state)
    return found is not None and found[0] < state.resolved.training.paper.target_accuracy


def _without_empty_columns(codes: Tensor, trie: Trie) -> Codes:
    """Drop the columns of codes (n, L) that only removed, longer ids used."""
    return codes[:, (codes != trie.vocabulary.pad).any(0)].numpy()
