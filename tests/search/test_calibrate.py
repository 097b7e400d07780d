from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from vitdsi import ImageIndex, load_config
from vitdsi.errors import UsageError
from vitdsi.search.calibrate import calibrate, needs_calibration, threshold_for
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank
from vitdsi.state import HeldOut, IndexState


@pytest.mark.parametrize(
    ("count", "keep", "kept"), [(100, 0.95, 95), (100, 0.07, 7), (3, 0.5, 2), (7, 1.0, 7)]
)
def test_threshold_keeps_the_given_share_of_the_scores(count: int, keep: float, kept: int) -> None:
    scores = np.random.default_rng(1).permutation(count) / count
    threshold = threshold_for(scores, keep)
    assert (scores >= threshold).sum() == kept
    assert threshold in scores


def test_threshold_among_ties_keeps_all_of_them() -> None:
    assert threshold_for(np.array([0.2, 0.5, 0.5, 0.5]), 0.5) == 0.5


def test_threshold_without_scores_or_with_a_share_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        threshold_for(np.array([]))
    for keep in (0.0, 1.1):
        with pytest.raises(UsageError, match="at most 1"):
            threshold_for(np.array([0.5]), keep)


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="1 of the scores are NaN"):
        threshold_for(np.array([0.5, np.nan]))


def held_out_state(labels: list[str] | None = None, count: int = 40, views: int = 20) -> IndexState:
    """An index of random pictures, and noisy copies of some of them as held-out views."""
    config = load_config(
        overrides=["training.max_epochs=10", "ids.base=8", f"labels={'none' if labels is None else 'folder'}"]
    )
    small = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    images = [np.kron(image, np.ones((16, 16, 1), dtype=np.uint8)) for image in small]
    state = ImageIndex(config).fit(images, labels).state_
    assert state.features is not None
    generator = torch.Generator().manual_seed(1)
    noisy = state.features[:views].float() * (0.8 + 0.4 * torch.rand(views, 1, generator=generator))
    held_out = HeldOut(noisy.half(), torch.arange(views), None if labels is None else labels[:views])
    return replace(state, held_out=held_out)


def test_scores_of_right_results_are_high_and_those_of_outsiders_low() -> None:
    state = calibrate(held_out_state())
    assert state.held_out is not None
    found = rank(state, state.held_out.features, SearchOptions(k=5))
    right = found.ids == state.held_out.ids.numpy()[:, None]
    assert found.scores[right].mean() > 0.8
    assert found.scores[~right].mean() < 0.2
    calibration = state.report.calibration
    assert calibration.images == 40
    assert len(calibration.inside_scores) == 20
    assert np.mean(np.array(calibration.inside_scores) >= calibration.min_score - 1e-6) >= 0.95


def test_weights_are_never_negative() -> None:
    state = calibrate(held_out_state())
    assert min(state.report.calibration.weights) >= 0


def test_with_classes_a_result_of_the_class_is_right() -> None:
    labels = ["a", "b"] * 20
    state = calibrate(held_out_state(labels))
    assert state.held_out is not None
    found = rank(state, state.held_out.features, SearchOptions(k=5))
    classes = np.array(labels)
    right = classes[found.ids] == classes[state.held_out.ids.numpy()][:, None]
    assert found.scores[right].mean() > found.scores[~right].mean()


def test_views_of_removed_images_do_not_count() -> None:
    state = held_out_state()
    fewer = calibrate(replace(state, trie=state.trie.without(range(10))))
    assert len(fewer.report.calibration.inside_scores) == 10
    assert fewer.report.calibration.images == 30


def test_too_few_views_leave_the_calibration_as_it_is() -> None:
    state = held_out_state(views=7)
    assert calibrate(state) is state
    assert calibrate(replace(state, held_out=None)) == replace(state, held_out=None)


def test_scores_need_calibration_when_more_than_one_in_a_hundred_images_went() -> None:
    state = calibrate(held_out_state(count=100))
    assert not needs_calibration(state)
    assert not needs_calibration(replace(state, trie=state.trie.without([3])))
    assert needs_calibration(replace(state, trie=state.trie.without([3, 4])))
