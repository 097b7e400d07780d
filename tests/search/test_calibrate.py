from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers_stored import stored

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


def held_out_state(views: int = 20, *, labels: bool = False) -> IndexState:
    """An index of 60 images, and noisy copies of the first ones as held-out views."""
    state = stored(labels=labels)
    assert state.features is not None
    noise = torch.randn(views, state.features.shape[1], generator=torch.Generator().manual_seed(1))
    noisy = (state.features[:views].float() + 0.2 * noise).half()
    classes = state.labels[:views] if state.labels is not None else None
    return replace(state, held_out=HeldOut(noisy, torch.arange(views), classes))


def test_scores_of_right_results_are_high_and_those_of_outsiders_low() -> None:
    state = calibrate(held_out_state())
    assert state.held_out is not None
    found = rank(state, state.held_out.features, SearchOptions(k=5))
    right = found.ids == state.held_out.ids.numpy()[:, None]
    assert found.scores[right].mean() > 0.8
    assert found.scores[~right].mean() < 0.2
    calibration = state.report.calibration
    assert calibration.images == 60
    assert len(calibration.inside_scores) == 20
    assert np.mean(np.array(calibration.inside_scores) >= calibration.min_score - 1e-6) >= 0.95


def test_weights_are_never_negative() -> None:
    state = calibrate(held_out_state())
    assert min(state.report.calibration.weights) >= 0


def test_with_classes_a_result_of_the_class_is_right() -> None:
    state = calibrate(held_out_state(labels=True))
    assert state.held_out is not None and state.labels is not None
    found = rank(state, state.held_out.features, SearchOptions(k=20))
    classes = np.array(state.labels)
    right = classes[found.ids] == classes[state.held_out.ids.numpy()][:, None]
    assert found.scores[right].mean() > 0.8
    assert found.scores[~right].mean() < 0.3


def test_views_of_removed_images_do_not_count() -> None:
    state = held_out_state()
    fewer = calibrate(replace(state, trie=state.trie.without(range(10))))
    assert len(fewer.report.calibration.inside_scores) == 10
    assert fewer.report.calibration.images == 50


def test_too_few_views_leave_the_calibration_as_it_is() -> None:
    state = held_out_state(views=7)
    assert calibrate(state) is state
    assert calibrate(replace(state, held_out=None)) == replace(state, held_out=None)


def test_weights_that_are_not_numbers_leave_the_calibration_as_it_is() -> None:
    state = stored()
    model = copy.deepcopy(state.model)
    with torch.no_grad():
        model.head.log_scale.fill_(torch.nan)
    damaged = replace(state, model=model)
    assert calibrate(damaged).report == damaged.report


def test_scores_need_calibration_when_more_than_one_in_a_hundred_images_went() -> None:
    state = calibrate(held_out_state())
    before = replace(state.report.calibration, images=61)
    assert not needs_calibration(state)
    assert needs_calibration(replace(state, trie=state.trie.without([3])))
    assert needs_calibration(replace(state, report=replace(state.report, calibration=before)))
    many = replace(before, images=60 * 101 // 100)
    assert not needs_calibration(replace(state, report=replace(state.report, calibration=many)))


def test_the_threshold_of_pictures_is_exceeded_by_one_in_a_hundred_pairs_of_different_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vitdsi.search.calibrate._OF_FEW_IMAGES", -1.0)
    state = stored()
    threshold = calibrate(state).report.calibration.different_pictures
    vectors = state.picture_vectors()
    assert vectors is not None and state.features is not None
    width = vectors.shape[1]
    shown = F.normalize(state.model.embeddings(state.features)[:, :width], dim=1)
    cosines = shown @ F.normalize(vectors, dim=1).T
    different = cosines[~torch.eye(len(cosines), dtype=torch.bool)]
    assert float((different > threshold).float().mean()) == pytest.approx(0.01, abs=0.003)


@pytest.mark.parametrize("least", [0.9, 0.999])
def test_the_threshold_of_pictures_is_higher_in_a_small_collection(
    monkeypatch: pytest.MonkeyPatch, least: float
) -> None:
    state = stored()
    found = []
    for floor in (-1.0, least):
        monkeypatch.setattr("vitdsi.search.calibrate._OF_FEW_IMAGES", floor)
        found.append(calibrate(state).report.calibration.different_pictures)
    vectors = state.picture_vectors()
    assert vectors is not None
    share = min(1.0, vectors.shape[1] / len(vectors)) ** 2
    assert found[1] == pytest.approx(found[0] + max(0.0, least - found[0]) * share, abs=2e-4)


def test_the_threshold_of_pictures_stays_where_it_cannot_be_measured() -> None:
    state = replace(stored(), features=None)
    before = state.report.calibration.different_pictures
    assert calibrate(state).report.calibration.different_pictures == before
