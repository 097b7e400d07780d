from __future__ import annotations

import numpy as np

from vitdsi.ids.trie import NONE
from vitdsi.photos.regions import Region
from vitdsi.search.ranking import Ranking

_RANKING = Ranking(
    ids=np.array([[4, 2, 7, NONE]]),
    scores=np.array([[0.9, 0.2, 0.5, 0.0]], np.float32),
    log_probs=np.array([[-1.0, -2.0, -3.0, -np.inf]], np.float32),
    parts=np.array([[0, 1, 0, 0]]),
    proven=np.array([True]),
    picture_places=np.array([[NONE, 0, 1, NONE]]),
)
_REGIONS = [Region(0, 0, 1, 1), Region(0, 0, 0.5, 0.5)]


def test_results_have_names_regions_and_places_and_none_is_left_out() -> None:
    found = _RANKING.results(0, 0, "image {}".format, _REGIONS, 0.0)
    assert [(r.rank, r.image_id, r.id, r.log_prob, r.picture_place) for r in found] == [
        (1, "image 4", 4, -1.0, None),
        (2, "image 2", 2, -2.0, 0),
        (3, "image 7", 7, -3.0, 1),
    ]
    assert [r.region for r in found] == [(0, 0, 1, 1), (0, 0, 0.5, 0.5), (0, 0, 1, 1)]


def test_results_of_a_later_page_that_reach_a_minimum_are_numbered_without_gaps() -> None:
    found = _RANKING.results(0, 1, str, None, 0.3)
    assert [(r.rank, r.image_id, r.region) for r in found] == [(2, "7", None)]
