from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers_duplicates import COPIES, index_with_copies, pairs
from helpers_stored import stored

from vitdsi.columns.thumbnails import Thumbnails
from vitdsi.errors import UsageError
from vitdsi.search.similarity import NEAR_IDENTICAL_SIMILARITY, Similarity
from vitdsi.state import IndexState


@pytest.fixture(scope="module")
def index() -> IndexState:
    return index_with_copies()


@pytest.fixture
def without_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no model have vectors that can be compared."""
    monkeypatch.setattr(IndexState, "reranks_by_default", False)


def test_copies_are_near_identical_and_other_pictures_are_not(index: IndexState) -> None:
    similarity = Similarity(index)
    copied = pairs(*COPIES.items())
    assert similarity.at_least(copied, NEAR_IDENTICAL_SIMILARITY).all()
    assert similarity.at_least(copied[:, ::-1], NEAR_IDENTICAL_SIMILARITY).all()
    others = pairs(*((i, j) for i in range(20) for j in range(i)))
    assert not similarity.at_least(others, NEAR_IDENTICAL_SIMILARITY).any()
    assert similarity.at_least(others, -1).all()


def test_turned_picture_is_near_identical_whatever_its_features(index: IndexState) -> None:
    assert index.thumbnails is not None
    thumbnails = index.thumbnails.all()
    thumbnails[31] = torch.rot90(thumbnails[12])
    thumbnails[32] = (
        torch.rot90(thumbnails[12])[2:-2, 2:-2]
        .float()
        .repeat_interleave(8, 0)
        .repeat_interleave(8, 1)
        .view(32, 7, 32, 7)
        .mean((1, 3))
    )  # and cropped
    similarity = Similarity(replace(index, thumbnails=Thumbnails.of(thumbnails)))
    assert similarity.at_least(pairs((12, 31), (31, 12), (12, 32)), NEAR_IDENTICAL_SIMILARITY).all()
    assert not similarity.at_least(pairs((12, 31)), 1.07).any()


def test_further_photos_are_compared_under_the_numbers_after_the_last(index: IndexState) -> None:
    assert index.features is not None and index.thumbnails is not None
    beside = index.features[[9, 20]], index.thumbnails.all()[[9, 20]]
    similarity = Similarity(index, beside)
    assert similarity.at_least(pairs((65, 9), (66, 20), (65, 20)), 1.19).tolist() == [True, True, False]


def test_exact_copy_reaches_the_highest_similarity_and_nothing_exceeds_it(index: IndexState) -> None:
    similarity = Similarity(index)
    assert similarity.at_least(pairs((64, 9)), 1.19).all()
    assert not similarity.at_least(pairs(*COPIES.items()), 1.21).any()


def test_no_pairs_give_an_empty_result(index: IndexState) -> None:
    assert Similarity(index).at_least(pairs(), 0).shape == (0,)


def test_index_of_pixels_is_compared_by_thumbnails_alone(index: IndexState, without_vectors: None) -> None:
    assert index.features is not None
    shuffled = index.features[torch.randperm(65, generator=torch.Generator().manual_seed(0))]
    pixels = torch.zeros(65, 3, 4, 4, dtype=torch.uint8)
    similarity = Similarity(replace(index, features=pixels))
    assert similarity.at_least(pairs((64, 9)), 1.199).all()
    copied = pairs(*COPIES.items())
    assert similarity.at_least(copied, NEAR_IDENTICAL_SIMILARITY).all()
    features_differ = Similarity(replace(index, features=shuffled))
    assert not features_differ.at_least(copied, NEAR_IDENTICAL_SIMILARITY).all()


def test_shift_that_all_features_share_does_not_change_similarity(
    index: IndexState, without_vectors: None
) -> None:
    assert index.features is not None
    shifted = replace(index, features=index.features.float() + 100)
    similarity, shifted_similarity = Similarity(index), Similarity(shifted)
    given = pairs(*((i, j) for i in range(8) for j in range(i)), *COPIES.items())
    for threshold in (0.6, 0.9, NEAR_IDENTICAL_SIMILARITY):
        expected = similarity.at_least(given, threshold)
        assert expected.any()
        assert (shifted_similarity.at_least(given, threshold) == expected).all()


def test_pictures_that_coarse_steps_rule_out_are_those_that_all_crops_rule_out(
    index: IndexState, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = pairs(*((i, j) for i in range(12) for j in range(i)), *COPIES.items())
    reached = [Similarity(index).at_least(given, threshold) for threshold in (0.7, 0.9, 1.0, 1.1)]
    monkeypatch.setattr("vitdsi.search.similarity._COARSE_MARGIN", 9.0)
    everything = [Similarity(index).at_least(given, threshold) for threshold in (0.7, 0.9, 1.0, 1.1)]
    assert [part.tolist() for part in reached] == [part.tolist() for part in everything]
    assert 0 < reached[1].sum() < len(given)


def test_vectors_of_the_model_are_compared_whether_features_are_kept_or_not(index: IndexState) -> None:
    given = pairs(*((i, j) for i in range(20) for j in range(i)), *COPIES.items())
    without = Similarity(replace(index, features=None))
    for threshold in (0.6, 0.9, NEAR_IDENTICAL_SIMILARITY):
        expected = Similarity(index).at_least(given, threshold)
        assert (without.at_least(given, threshold) == expected).all()


def test_index_without_thumbnails_is_refused() -> None:
    with pytest.raises(UsageError, match="keeps no features or thumbnails"):
        Similarity(replace(stored(), thumbnails=None))


def test_index_without_features_whose_model_keeps_no_vectors_is_refused(without_vectors: None) -> None:
    with pytest.raises(UsageError, match="keeps no features or thumbnails"):
        Similarity(replace(stored(), features=None))
