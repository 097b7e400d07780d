from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_duplicates import COPIES, index_with_copies, pairs
from helpers_stored import stored

from vitdsi.collection.remove import remove
from vitdsi.columns.thumbnails import Thumbnails
from vitdsi.errors import UsageError
from vitdsi.search.duplicates import (
    _mutual,
    connected_groups,
    first_distinct,
    near_identical,
    search_distinct,
)
from vitdsi.search.options import SearchOptions
from vitdsi.search.similarity import Similarity
from vitdsi.state import IndexState


@pytest.fixture(scope="module")
def index() -> IndexState:
    return index_with_copies()


# ---- near_identical


def test_near_identical_groups_each_original_with_its_copies(index: IndexState) -> None:
    assert near_identical(index) == [[0, 60, 61], [5, 62], [7, 63], [9, 64]]


def test_near_identical_finds_turned_copies_although_no_search_proposes_them(index: IndexState) -> None:
    assert index.thumbnails is not None
    thumbnails = index.thumbnails.all()
    for turns, (copy, original) in enumerate([(31, 12), (32, 13), (33, 14)], start=1):
        thumbnails[copy] = torch.rot90(thumbnails[original], turns)
    thumbnails[34] = thumbnails[15].T  # turned and mirrored
    groups = near_identical(replace(index, thumbnails=Thumbnails.of(thumbnails)))
    assert groups == [[0, 60, 61], [5, 62], [7, 63], [9, 64], [12, 31], [13, 32], [14, 33], [15, 34]]


def test_near_identical_leaves_out_removed_images(index: IndexState) -> None:
    removed = [0, 5, 9]
    groups = near_identical(remove(index, removed))
    assert not {i for group in groups for i in group} & set(removed)
    assert [60, 61] in groups


def test_near_identical_finds_the_same_groups_without_features(index: IndexState) -> None:
    assert near_identical(replace(index, features=None)) == near_identical(index)


def test_near_identical_of_a_single_image_has_no_groups(index: IndexState) -> None:
    assert near_identical(remove(index, range(64))) == []


def test_near_identical_without_features_is_refused() -> None:
    with pytest.raises(UsageError, match="keeps no features"):
        near_identical(replace(stored(), features=None, thumbnails=None))


def test_mutual_pairs_are_those_in_which_each_found_the_other() -> None:
    rng = np.random.default_rng(0)
    ids = np.array([2, 3, 5, 9, 11])
    found = rng.choice([-1, *ids, 40], (5, 3))
    results = dict(zip(ids.tolist(), found.tolist(), strict=True))
    expected = [[i, j] for i in results for j in results if i < j and j in results[i] and i in results[j]]
    assert _mutual(ids, found).tolist() == expected != []


# ---- connected_groups


def test_connected_groups_joins_chains_and_sorts_by_size_then_id() -> None:
    chains = pairs((4, 1), (1, 7), (2, 3), (8, 9), (9, 2), (5, 6))
    assert connected_groups(chains) == [[2, 3, 8, 9], [1, 4, 7], [5, 6]]
    assert connected_groups(pairs((30, 20), (5, 2**40))) == [[5, 2**40], [20, 30]]


def test_connected_groups_counts_repeated_pairs_once() -> None:
    assert connected_groups(pairs((1, 2), (2, 1), (1, 2))) == [[1, 2]]


def test_connected_groups_of_no_pairs_is_empty() -> None:
    assert connected_groups(pairs()) == []


@pytest.mark.parametrize("seed", range(20))
def test_connected_groups_agrees_with_merging_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given = rng.integers(0, 60, size=(30, 2))
    groups: list[set[int]] = []
    for pair in given.tolist():
        touched = [group for group in groups if group & set(pair)]
        groups = [group for group in groups if group not in touched] + [set(pair).union(*touched)]
    expected = sorted((sorted(group) for group in groups), key=lambda group: (-len(group), group))
    assert connected_groups(given) == expected
    assert len(expected) > 1


# ---- first_distinct


def test_first_distinct_skips_copies_of_a_better_result(index: IndexState) -> None:
    similarity = Similarity(index)
    assert first_distinct([60, 3, 0, 61, 9, 64, 5], 10, similarity) == [60, 3, 9, 5]
    assert first_distinct([60, 3, 0, 61, 9, 64, 5], 2, similarity) == [60, 3]
    assert first_distinct([], 3, similarity) == []


# ---- search_distinct


@pytest.mark.parametrize("k", [1, 4, 60, 70])
@pytest.mark.parametrize("beam_size", [None, 70])
def test_search_distinct_finds_k_different_pictures_or_all(
    index: IndexState, k: int, beam_size: int | None
) -> None:
    similarity = Similarity(index)
    assert index.features is not None
    results = search_distinct(index, index.features[:12], SearchOptions(k=k, beam_size=beam_size), similarity)
    assert results.ids.shape == results.scores.shape == results.log_probs.shape == (12, k)
    assert results.proven.all()
    for row, row_scores in zip(results.ids.tolist(), results.scores, strict=True):
        found = [i for i in row if i >= 0]
        assert len(found) == min(k, 60)
        assert len({COPIES.get(i, i) for i in found}) == len(found)
        assert (row_scores[: len(found)] > 0).all() and (row_scores[len(found) :] == 0).all()


def test_search_distinct_widens_a_beam_that_is_narrower_than_the_results(index: IndexState) -> None:
    assert index.features is not None
    results = search_distinct(index, index.features[:1], SearchOptions(k=4, beam_size=4), Similarity(index))
    found = results.ids[0].tolist()
    assert -1 not in found and len({COPIES.get(i, i) for i in found}) == 4


def test_search_distinct_finds_only_images_that_a_filter_allows(index: IndexState) -> None:
    assert index.features is not None
    within = index.trie.restrict([0, 60, 61, 5, 6])
    results = search_distinct(index, index.features[:1], SearchOptions(k=4), Similarity(index), within)
    assert {COPIES.get(i, i) for i in results.ids[0].tolist()} == {0, 5, 6, -1}
    assert (results.ids[0, 3], results.scores[0, 3], results.log_probs[0, 3]) == (-1, 0, -np.inf)
