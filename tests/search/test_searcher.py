from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_duplicates import COPIES, index_with_copies
from helpers_stored import stored

from vitdsi.collection.remove import remove
from vitdsi.errors import UsageError
from vitdsi.search import searcher as searcher_module
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank
from vitdsi.search.searcher import Searcher
from vitdsi.search.similarity import Similarity


def queries(*ids: int) -> torch.Tensor:
    features = stored().features
    assert features is not None
    return features[list(ids)]


def test_results_are_those_of_rank_with_names_and_places() -> None:
    options = SearchOptions(k=4)
    found = Searcher(stored()).search(queries(3, 7), options)
    ranking = rank(stored(), queries(3, 7), options)
    ids, scores = ranking.ids.tolist(), ranking.scores.tolist()
    for row, row_ids, row_scores, log_probs in zip(found, ids, scores, ranking.log_probs, strict=True):
        assert [result.rank for result in row] == [1, 2, 3, 4]
        assert [result.id for result in row] == row_ids
        assert [result.score for result in row] == row_scores
        assert [result.log_prob for result in row] == log_probs.tolist()
        assert all(result.proven is True for result in row)
        assert [result.image_id for result in row] == [f"old/{i:03}.jpg" for i in row_ids]


@pytest.mark.parametrize(("k", "count"), [(1, 1), (57, 57), (500, 57)])
def test_search_returns_k_results_or_as_many_as_there_are_images(k: int, count: int) -> None:
    (row,) = Searcher(remove(stored(), [0, 1, 2])).search(queries(5), SearchOptions(k=k))
    assert len(row) == count == len({result.id for result in row})
    assert not {result.id for result in row} & {0, 1, 2}


def test_results_below_the_minimum_score_are_left_out() -> None:
    searcher = Searcher(stored())
    (everything,) = searcher.search(queries(5), SearchOptions(k=60))
    least = sorted(result.score for result in everything)[-2]
    (likely,) = searcher.search(queries(5), SearchOptions(k=60, min_score=least))
    assert [result.id for result in likely] == [r.id for r in everything if r.score >= least]
    assert searcher.search(queries(5), SearchOptions(min_score=1.0)) == [[]]


def test_filter_restricts_the_results() -> None:
    options = SearchOptions(10, where="album = 'a1'", allow=range(10))
    (row,) = Searcher(stored()).search(queries(5), options)
    assert sorted(result.id for result in row) == [1, 4, 7]


def test_filter_that_allows_nothing_gives_no_results() -> None:
    assert Searcher(stored()).search(queries(5, 6), SearchOptions(allow=[])) == [[], []]


def test_collapse_leaves_out_near_identical_results() -> None:
    index = index_with_copies()
    assert index.features is not None
    searcher = Searcher(index)
    (plain,) = searcher.search(index.features[:1], SearchOptions(k=5))
    (distinct,) = searcher.search(index.features[:1], SearchOptions(k=5, collapse=True))
    originals = [COPIES.get(result.id, result.id) for result in distinct]
    assert len(distinct) == 5 and len(set(originals)) == 5
    assert len({COPIES.get(result.id, result.id) for result in plain}) < 5
    assert [result.rank for result in distinct] == [1, 2, 3, 4, 5]


def test_collapse_ends_the_results_where_no_distinct_image_is_left() -> None:
    index = index_with_copies()
    assert index.features is not None
    options = SearchOptions(10, allow=[0, 60, 61, 7], collapse=True)
    (row,) = Searcher(index).search(index.features[:1], options)
    assert {COPIES.get(result.id, result.id) for result in row} == {0, 7} and len(row) == 2


def test_similarity_is_prepared_once_and_only_for_collapse(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Similarity] = []

    class Counted(Similarity):
        def __init__(self, *arguments: object) -> None:
            made.append(self)
            super().__init__(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(searcher_module, "Similarity", Counted)
    searcher = Searcher(stored())
    searcher.search(queries(1), SearchOptions(k=2))
    assert made == []
    for _ in range(2):
        searcher.search(queries(1), SearchOptions(k=2, collapse=True))
    assert len(made) == 1


def test_collapse_without_stored_features_is_refused_and_plain_search_is_not() -> None:
    searcher = Searcher(replace(stored(), features=None, thumbnails=None))
    assert len(searcher.search(queries(1), SearchOptions(k=3))[0]) == 3
    with pytest.raises(UsageError, match="keeps no features"):
        searcher.search(queries(1), SearchOptions(k=3, collapse=True))


def test_threads_that_search_at_once_get_the_results_of_searching_in_turn() -> None:
    searcher = Searcher(stored())
    options = [
        SearchOptions(5, where=f"width < {110 + 5 * i}" if i % 2 else None, collapse=i % 3 == 0)
        for i in range(16)
    ]
    expected = [Searcher(stored()).search(queries(i, i + 20), given) for i, given in enumerate(options)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: searcher.search(queries(i, i + 20), options[i]), range(len(options))))
    for rows, expected_rows in zip(found, expected, strict=True):
        for row, expected_row in zip(rows, expected_rows, strict=True):
            assert [result.id for result in row] == [result.id for result in expected_row]
            np.testing.assert_allclose(
                [result.score for result in row],
                [result.score for result in expected_row],
                atol=1e-6,
            )


# ---- pages


@pytest.mark.parametrize("collapse", [False, True])
@pytest.mark.parametrize("k", [7, 30])
def test_pages_are_parts_of_one_list_and_begin_with_the_first_results(collapse: bool, k: int) -> None:
    searcher, query = Searcher(index_with_copies()), queries(5)
    pages = [
        searcher.search(query, SearchOptions(k=k, offset=offset, collapse=collapse))[0]
        for offset in range(0, 70, k)
    ]
    assert pages[0] == searcher.search(query, SearchOptions(k=k, collapse=collapse))[0]
    found = [result for page in pages for result in page]
    assert [result.rank for result in found] == list(range(1, len(found) + 1))
    assert len({result.id for result in found}) == len(found) == (60 if collapse else 65)


def test_offset_beyond_the_last_image_gives_no_results() -> None:
    assert Searcher(stored()).search(queries(5, 6), SearchOptions(k=3, offset=60)) == [[], []]


def test_minimum_score_leaves_results_on_their_page() -> None:
    pages = [Searcher(stored()).search(queries(5), SearchOptions(k=3, offset=o))[0] for o in (0, 3)]
    least = pages[0][0].score
    kept = Searcher(stored()).search(queries(5), SearchOptions(k=3, offset=3, min_score=least))[0]
    assert [result.id for result in kept] == [result.id for result in pages[1] if result.score >= least]


# ---- more like an image of the index


def test_more_like_gives_the_results_of_the_stored_feature_without_the_image() -> None:
    searcher = Searcher(index_with_copies())
    found = searcher.more_like(5, SearchOptions(k=6))
    others = [result for result in searcher.search(queries(5), SearchOptions(k=7))[0] if result.id != 5]
    assert [result.id for result in found] == [result.id for result in others]
    assert found[0].id == 62  # its copy
    assert [result.rank for result in found] == [1, 2, 3, 4, 5, 6]


def test_more_like_takes_all_options() -> None:
    searcher = Searcher(index_with_copies())
    found = searcher.more_like(0, SearchOptions(k=100, where='album = "a0"', min_score=0.1))
    assert found and all(result.score >= 0.1 for result in found)
    everything = searcher.more_like(0, SearchOptions(k=100, where='album = "a0"', collapse=True))
    assert {result.id for result in everything} <= {*range(3, 60, 3), 60, 61, 63}
    assert not {60, 61} <= {result.id for result in everything}
    assert searcher.more_like(0, SearchOptions(allow=[0])) == []


def test_more_like_without_features_searches_with_the_vector_of_the_head() -> None:
    kept = Searcher(index_with_copies())
    dropped = Searcher(replace(index_with_copies(), features=None, thumbnails=None))
    for number in (0, 5, 7, 9):
        expected = {i for pair in COPIES.items() if number in pair for i in pair} - {number}
        for searcher in (kept, dropped):
            found = searcher.more_like(number, SearchOptions(k=len(expected)))
            assert {result.id for result in found} == expected


def test_more_like_in_any_rotation_is_refused() -> None:
    with pytest.raises(UsageError, match="whole and upright"):
        Searcher(stored()).more_like(5, SearchOptions(any_rotation=True))


# ---- any rotation


def test_each_image_has_the_best_of_the_answers_for_four_orientations() -> None:
    searcher = Searcher(stored())
    orientations = [13, 27, 38, 49]
    (joined,) = searcher.search(queries(*orientations), SearchOptions(k=60, any_rotation=True, rerank=False))
    each = searcher.search(queries(*orientations), SearchOptions(k=60, rerank=False))
    best = {i: max(r.log_prob for row in each for r in row if r.id == i) for i in range(60)}
    assert {result.id: result.log_prob for result in joined} == pytest.approx(best, abs=1e-4)
    assert [result.log_prob for result in joined] == sorted(best.values(), reverse=True)
    assert {result.id for result in joined[:4]} == set(orientations)


@pytest.mark.parametrize("rerank", [True, False])
@pytest.mark.parametrize("collapse", [True, False])
def test_pages_in_any_rotation_have_each_image_once(rerank: bool, collapse: bool) -> None:
    searcher = Searcher(stored())
    found = [
        [result.id for result in row]
        for offset in range(0, 60, 15)
        for row in searcher.search(
            queries(1, 2, 3, 4, 11, 12, 13, 14),
            SearchOptions(k=15, offset=offset, any_rotation=True, rerank=rerank, collapse=collapse),
        )
    ]
    for query, shown in enumerate(([1, 2, 3, 4], [11, 12, 13, 14])):
        pages = found[query::2]
        assert sorted(i for page in pages for i in page) == list(range(60))
        assert set(shown) <= set(pages[0])


def test_filter_that_allows_nothing_gives_no_results_in_any_rotation() -> None:
    options = SearchOptions(allow=[], any_rotation=True)
    assert Searcher(stored()).search(queries(1, 2, 3, 4), options) == [[]]
