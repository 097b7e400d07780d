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
