from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers_images import CORNERS, photographed, textured
from helpers_stored import stored
from PIL import Image

from vitdsi.errors import UsageError
from vitdsi.photos.keypoints import DESCRIPTOR_BYTES, Keypoints, PhotoKeypoints, detect, detect_in_query
from vitdsi.search.options import CANDIDATES, SearchOptions, SearchResult
from vitdsi.search.verify import (
    CERTAIN,
    LIKELY,
    VERIFIED_AT_ONCE,
    Proof,
    indexed_keypoints,
    keypoints_for,
    options_for_candidates,
    prove,
    score_with,
    verified,
    verify_results,
)

COUNT = 8


@pytest.fixture(scope="module")
def keypoints() -> Keypoints:
    return Keypoints.of([detect(textured(seed=i), 300, 480) for i in range(COUNT)])


def results(*ids: int, score: float = 0.2) -> list[SearchResult]:
    return [SearchResult(rank, f"{i}.jpg", score, i, -1.0, True) for rank, i in enumerate(ids, start=1)]


def test_photographed_image_is_certain_and_comes_first(keypoints: Keypoints) -> None:
    found = verify_results(keypoints, photographed(textured(seed=3)), results(0, 1, 2, 3, 4), SearchOptions())
    assert [result.id for result in found] == [3, 0, 1, 2, 4]
    assert [result.rank for result in found] == [1, 2, 3, 4, 5]
    assert [result.certain for result in found] == [True, False, False, False, False]
    assert found[0].inliers is not None and found[0].inliers >= CERTAIN
    assert found[0].outline is not None
    assert np.array(found[0].outline) == pytest.approx(np.array(CORNERS), abs=0.02)
    assert found[0].score > 0.99
    assert all(result.score == 0.2 and result.outline is None for result in found[1:])


def test_matches_lie_on_the_same_spots_of_query_and_image(keypoints: Keypoints) -> None:
    query = textured(seed=3).resize((480, 300))  # the shape of a photo does not matter
    (found,) = verify_results(keypoints, query, results(3), SearchOptions())
    matches = np.array(found.matches)
    assert len(matches) >= CERTAIN
    assert matches[:, :2] == pytest.approx(matches[:, 2:], abs=0.02)


def test_several_certain_images_are_ordered_by_their_inliers(keypoints: Keypoints) -> None:
    query = Image.new("RGB", (480, 360))
    query.paste(textured(seed=1), (0, 0))
    query.paste(textured(seed=2).crop((0, 0, 110, 180)), (240, 180))
    found = verify_results(keypoints, query, results(0, 2, 1), SearchOptions())
    assert [(result.id, result.certain) for result in found] == [(1, True), (2, True), (0, False)]


def test_photo_of_something_else_leaves_the_results_as_they_are(keypoints: Keypoints) -> None:
    given = results(*range(COUNT))
    found = verify_results(keypoints, textured(seed=77), given, SearchOptions())
    assert found == [
        replace(result, inliers=after.inliers) for result, after in zip(given, found, strict=True)
    ]
    assert all(result.inliers is not None and result.inliers < CERTAIN for result in found)


def test_mirror_image_is_not_certain(keypoints: Keypoints) -> None:
    mirrored = textured(seed=3).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    (found,) = verify_results(keypoints, mirrored, results(3), SearchOptions())
    assert not found.certain


@pytest.mark.parametrize("spread", [(0.5, 0.5), (0.5, 0.01), (0.01, 0.01), (0.002, 0.002)])
def test_only_points_that_are_spread_prove_something(spread: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    places = 0.5 + (rng.random((60, 2)) - 0.5) * spread
    part = PhotoKeypoints(
        rng.integers(0, 256, (60, DESCRIPTOR_BYTES), dtype=np.uint8),
        (places * 65535).astype(np.uint16),
        (640, 480),
    )
    (proof,) = prove(part, Keypoints.of([part]), [0])
    assert (proof.inliers >= CERTAIN) == (spread == (0.5, 0.5))


def test_image_or_query_without_keypoints_has_no_inliers(keypoints: Keypoints) -> None:
    blank = detect(Image.new("RGB", (50, 50)), 10, 50)
    assert [proof.inliers for proof in prove(blank, keypoints, [0, 1])] == [0, 0]
    assert prove(detect(textured(), 50, 300), Keypoints.of([blank]), [0])[0].inliers == 0


def test_certain_result_passes_a_minimum_that_its_first_score_does_not_reach(keypoints: Keypoints) -> None:
    options = SearchOptions(k=2, min_score=0.5)
    found = verify_results(keypoints, photographed(textured(seed=3)), results(0, 1, 3), options)
    assert [(result.rank, result.id) for result in found] == [(1, 3)]


def test_score_grows_with_the_first_score_and_the_inliers() -> None:
    assert 0.9 < score_with(0.0, CERTAIN) == score_with(0.01, CERTAIN) < score_with(0.02, CERTAIN) < 1
    assert score_with(0.0, CERTAIN) < score_with(0.0, CERTAIN + 1)
    assert score_with(0.5, 500) == pytest.approx(score_with(1.0, 4)) == pytest.approx(0.999)


def _counts(*inliers: int) -> list[Proof]:
    return [Proof(n, np.array(CORNERS), np.empty((0, 4))) for n in inliers]


def test_those_that_look_most_like_the_query_are_verified(keypoints: Keypoints) -> None:
    given = [
        replace(result, picture_place=place if result.id == 3 else None)
        for place, result in enumerate(results(*[0] * (CANDIDATES + 3), 3))
    ]
    found = verify_results(keypoints, photographed(textured(seed=3)), given, SearchOptions(k=2))
    assert [(result.id, result.certain, result.inliers is None) for result in found] == [
        (3, True, False),
        (0, False, True),
    ]


@pytest.mark.parametrize("most, count", [(LIKELY, VERIFIED_AT_ONCE), (LIKELY - 1, CANDIDATES)])
def test_half_are_verified_at_first_and_the_others_if_none_of_these_is_likely(most: int, count: int) -> None:
    given = [
        replace(result, picture_place=result.id) for result in reversed(results(*range(CANDIDATES + 20)))
    ]
    asked: list[int] = []

    def prove(ids: list[int]) -> list[Proof]:
        asked.extend(ids)
        return _counts(*[most if i == 7 else 0 for i in ids])

    found = verified(given, prove, SearchOptions(k=len(given)))
    assert asked == list(range(count))
    assert {result.id for result in found if result.inliers is not None} == set(asked)


def test_likely_results_come_first_by_their_inliers_and_score_higher_but_only_certain_ones_have_an_outline() -> (
    None
):
    counts = _counts(0, LIKELY - 1, LIKELY, CERTAIN, CERTAIN + 5)
    found = verified(results(*range(5)), lambda ids: [counts[i] for i in ids], SearchOptions())
    assert [result.id for result in found] == [4, 3, 2, 0, 1]
    assert [result.certain for result in found] == [True, True, False, False, False]
    assert [result.outline is None for result in found] == [False, False, True, True, True]
    assert [result.score > 0.2 for result in found] == [True, True, True, False, False]


def test_pages_are_parts_of_the_verified_list(keypoints: Keypoints) -> None:
    given = results(0, 1, 2, 3, 4)
    query = detect(photographed(textured(seed=3)), 800, 640)
    pages = [verify_results(keypoints, query, given, SearchOptions(k=2, offset=o)) for o in (0, 2, 4, 6)]
    assert [result.id for page in pages for result in page] == [3, 0, 1, 2, 4]
    assert [result.rank for page in pages for result in page] == [1, 2, 3, 4, 5]


def test_later_page_needs_the_candidates_from_the_first_one_on() -> None:
    assert options_for_candidates(SearchOptions(k=10, offset=40)) == SearchOptions(k=VERIFIED_AT_ONCE)
    assert options_for_candidates(SearchOptions(k=10, offset=60)) == SearchOptions(
        k=VERIFIED_AT_ONCE, offset=20
    )
    assert options_for_candidates(SearchOptions(k=10, offset=60, beam_size=80)).beam_size == 80


def test_keypoints_of_an_indexed_image_prove_that_it_shows_itself(keypoints: Keypoints) -> None:
    query = indexed_keypoints(stored(), keypoints, 3)
    assert max(query.size) == 480
    proofs = prove(query, keypoints, [3, 4])
    assert proofs[0].inliers >= CERTAIN > proofs[1].inliers


def test_a_query_with_little_contrast_is_verified_by_its_weak_keypoints(keypoints: Keypoints) -> None:
    dark = textured(seed=3).point(lambda value: 20 + value // 9)
    strong = detect(dark, 600, 480)
    query = detect_in_query(dark)
    assert len(query.positions) > 2 * len(strong.positions)
    assert prove(query, keypoints, [3])[0].inliers >= CERTAIN > prove(query, keypoints, [4])[0].inliers


def test_more_results_are_searched_than_are_given() -> None:
    assert options_for_candidates(SearchOptions(k=3, min_score=0.5)) == SearchOptions(k=VERIFIED_AT_ONCE)
    assert options_for_candidates(SearchOptions(k=200)) == SearchOptions(k=200)
    assert options_for_candidates(SearchOptions(k=3, beam_size=5)).beam_size == VERIFIED_AT_ONCE


def test_verification_is_on_where_the_index_has_keypoints(keypoints: Keypoints) -> None:
    having = SimpleNamespace(keypoints=keypoints)
    without = SimpleNamespace(keypoints=None)
    assert keypoints_for(having, SearchOptions()) is keypoints  # type: ignore[arg-type]
    assert keypoints_for(having, SearchOptions(verify=False)) is None  # type: ignore[arg-type]
    assert keypoints_for(without, SearchOptions()) is None  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no keypoints"):
        keypoints_for(without, SearchOptions(verify=True))  # type: ignore[arg-type]
