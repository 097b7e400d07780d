from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_shards import Shards
from helpers_stored import DIM, stored

from vitdsi.errors import UsageError
from vitdsi.photos.keypoints import DESCRIPTOR_BYTES, PhotoKeypoints
from vitdsi.photos.regions import Region
from vitdsi.search.options import SearchOptions, SearchResult
from vitdsi.search.searcher import Searcher
from vitdsi.search.verify import options_for_candidates, verify_results

TWO = [Region(0, 0, 1, 1), Region(0, 0, 0.5, 0.5)]


def queries(count: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))


def assert_same(found: list[SearchResult], expected: list[SearchResult]) -> None:
    assert [result.image_id for result in found] == [result.image_id for result in expected]
    assert [result.id for result in found] == [result.id for result in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.rank, ours.region, ours.inliers, ours.proven) == (
            theirs.rank,
            theirs.region,
            theirs.inliers,
            theirs.proven,
        )
        assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-5)
        assert ours.score == pytest.approx(theirs.score, abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        SearchOptions(5),
        SearchOptions(5, rerank=False),
        SearchOptions(60),
        SearchOptions(4, offset=30),
        SearchOptions(10, where='album = "a1" and width > 120'),
        SearchOptions(10, where="width > 1000"),
        SearchOptions(10, min_score=0.5),
    ],
)
def test_results_of_shards_are_those_of_the_whole_index(options: SearchOptions) -> None:
    shards, whole = Shards(stored(), 3), Searcher(stored())
    for query in queries(2):
        assert_same(shards.search.search(query[None], options), whole.search(query[None], options)[0])


@pytest.mark.parametrize("options", [SearchOptions(10), SearchOptions(10, rerank=False)])
def test_parts_of_a_photo_are_searched_as_in_the_whole_index(options: SearchOptions) -> None:
    shards, whole = Shards(stored(), 3), Searcher(stored())
    for seed in range(3):
        query = queries(2, seed)
        assert_same(shards.search.search(query, options, TWO), whole.search(query, options, [TWO])[0])


@pytest.mark.parametrize("options", [SearchOptions(3), SearchOptions(3, offset=4)])
def test_results_are_verified_as_in_the_whole_index(options: SearchOptions) -> None:
    state = stored()
    rng = np.random.default_rng(0)
    photo = PhotoKeypoints(
        rng.integers(0, 256, (30, DESCRIPTOR_BYTES), dtype=np.uint8),
        rng.integers(0, 65536, (30, 2), dtype=np.uint16),
        (64, 48),
    )
    assert state.keypoints is not None
    wanted = options_for_candidates(options)
    found = Searcher(state).search(queries(1), wanted, to_verify=True)[0]
    expected = verify_results(state.keypoints, photo, found, options)
    assert_same(Shards(state, 3).search.search(queries(1), options, photo=photo), expected)


def test_only_shards_that_may_hold_an_answer_are_asked() -> None:
    state = stored()
    assert state.features is not None
    shards = Shards(state, 7)
    for image in range(0, 60, 7):
        shards.asked.clear()
        found = shards.search.search(state.features[image][None].float(), SearchOptions(1, rerank=False))
        assert found[0].id == image and found[0].proven
        assert shards.asked[0][0] == "find"
        asked = [number for method, numbers in shards.asked if method == "find" for number in numbers]
        assert len(asked) == len(set(asked)) < 7


@pytest.mark.parametrize(
    "options",
    [SearchOptions(allow=["old/001.jpg"]), SearchOptions(collapse=True), SearchOptions(any_rotation=True)],
)
def test_options_that_need_the_whole_index_are_refused(options: SearchOptions) -> None:
    with pytest.raises(UsageError, match="need the whole index"):
        Shards(stored(), 2).search.search(queries(1), options)


def test_a_wrong_condition_is_the_error_of_the_whole_index() -> None:
    with pytest.raises(UsageError, match="no_column"):
        Shards(stored(), 2).search.search(queries(1), SearchOptions(where="no_column = 1"))


def test_an_index_with_float_rows_and_classes_has_shards_too() -> None:
    state = stored(scheme="random", labels=True)
    shards, whole = Shards(state, 3), Searcher(state)
    query = queries(1)
    options = replace(SearchOptions(10), rerank=True)
    assert_same(shards.search.search(query, options), whole.search(query, options)[0])
