from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_stored import add, keypoints, own_first, stored

from vitdsi.collection.compact import compact
from vitdsi.collection.remove import remove
from vitdsi.config.budget import Budget
from vitdsi.errors import UsageError
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank


def test_compact_drops_removed_ids_and_keeps_results() -> None:
    index = remove(stored(), range(0, 60, 4))
    small = compact(index, retrain=False)
    kept = [i for i in range(60) if i % 4]
    assert small.image_ids == [index.image_ids[i] for i in kept]
    assert small.hashes == [index.hashes[i] for i in kept]
    assert len(small.trie.codes) == 45
    assert index.features is not None and small.features is not None
    assert torch.equal(small.features, index.features[kept])
    everything = SearchOptions(k=45, rerank=False)
    before, after = (rank(given, index.features, everything) for given in (index, small))
    # What is left in a node shares the probabilities of what was dropped.
    np.testing.assert_allclose(np.exp(after.log_probs).sum(1), 1, atol=1e-4)
    was, now = np.empty((60, 60)), np.empty((60, 60))
    np.put_along_axis(was, before.ids, before.log_probs, axis=1)
    np.put_along_axis(now, np.array(kept)[after.ids], after.log_probs, axis=1)
    assert (now[:, kept] >= was[:, kept] - 1e-4).all()
    assert own_first(small, range(45)) == 1.0
    assert small.metadata.ids_where("width = 101").tolist() == [0]


def test_compact_learns_again_if_half_of_the_index_changed() -> None:
    index = remove(stored(), range(40))
    small = compact(index)
    assert [change.verb for change in small.changes] == ["build"]
    assert own_first(small, range(20)) >= 0.95
    assert small.report.images == 20
    assert small.report.calibration.min_score is not None and 0 < small.report.calibration.min_score <= 1
    little = compact(remove(stored(), [1]))
    assert [change.verb for change in little.changes] == ["remove", "compact"]


def test_compact_of_an_index_without_images_is_refused() -> None:
    with pytest.raises(UsageError, match="every image was removed"):
        compact(remove(stored(), range(60)))


def test_compact_does_not_learn_again_right_after_it_did() -> None:
    rebuilt = compact(remove(stored(), range(40)))
    assert [change.verb for change in compact(rebuilt).changes] == ["build", "compact"]


def test_retraining_resolves_the_requested_settings_afresh() -> None:
    index = stored()
    training = replace(
        index.resolved.training, retrieval_ratio=0.9
    )  # as queries that are gone would raise it
    model = replace(index.resolved.model, embedding_dim=16)  # as more images would narrow it
    index = replace(index, resolved=replace(index.resolved, training=training, model=model))
    again = compact(index, retrain=True)
    assert again.resolved.training.retrieval_ratio == index.requested.training.retrieval_ratio == 0.5
    assert again.resolved.model.embedding_dim == index.requested.model.embedding_dim == 32
    assert again.requested == index.requested


def test_retraining_without_stored_features_is_refused() -> None:
    with pytest.raises(UsageError, match="has the features of all images"):
        compact(replace(stored(), features=None, thumbnails=None), retrain=True)


def test_compact_within_a_budget_keeps_the_strongest_and_holds_for_later_images() -> None:
    index = replace(stored(), keypoints=keypoints(60))
    small = compact(index, retrain=False, budget=Budget(vector_bytes=8, thumbnails=False, keypoints=2))
    assert small.model.row_bytes == 8 and small.thumbnails is None
    assert small.resolved.vector_bytes == small.requested.vector_bytes == 8
    for i in range(60):
        for before, after in zip(index.keypoints.of_photo(i), small.keypoints.of_photo(i), strict=True):
            np.testing.assert_array_equal(after, before[:2])
    assert own_first(small, range(60)) >= 0.95
    grown = add(small, 3)
    assert grown.model.row_bytes == 8 and grown.thumbnails is None
    none = compact(index, retrain=False, budget=Budget(vector_bytes=16, thumbnails=True, keypoints=0))
    assert none.keypoints is None and none.thumbnails is not None and none.model.row_bytes == 16
