from __future__ import annotations

from dataclasses import replace

import numpy as np

from vitdsi.exported.best_first import Found
from vitdsi.exported.heads import FloatRows
from vitdsi.exported.rank import Scoring, rank

_SCORING = Scoring(
    categories=2,
    part_penalty=0.05,
    log_prob=0.05,
    picture=20.0,
    category=1.0,
    picture_above=0.3,
    weights=(0.3, 10.0, 2.0),
    bias=-3.0,
    lowest_log_prob=-30.0,
)
_EVIDENCE = np.array([[-2.0, 0.8, 0.4], [-40.0, 0.1, 0.9]], np.float32)


def test_relevance_counts_what_the_cosine_of_pictures_exceeds_the_threshold_by() -> None:
    np.testing.assert_allclose(_SCORING.relevance(_EVIDENCE), [0.4 - 0.1 + 10, 0.9 - 2], rtol=1e-5)
    whole = replace(_SCORING, picture_above=None).relevance(_EVIDENCE)
    np.testing.assert_allclose(whole, [0.4 - 0.1 + 16, 0.9 - 2 + 2], rtol=1e-5)


def test_a_claim_above_the_limit_has_the_first_place_of_a_query_that_is_read_whole() -> None:
    # Pictures in the first two numbers, categories in the others: the first image is alike, the second akin.
    vectors = np.array([[1, 0.2, 0, 1], [0, 1, 1, 0], [0.1, 1, 0.6, 1]], np.float32)
    query = np.array([[1, 0, 1, 0]], np.float32)
    found = [Found(np.arange(3), np.array([-2, -1, -3], np.float32), True)]
    kinship = replace(_SCORING, picture=0.0, first=(10.0, 0.2))
    for least, order in ((None, [1, 2, 0]), (9.0, [0, 1, 2]), (9.6, [1, 2, 0])):
        scoring = replace(kinship, first_above=least)
        ranked = rank(
            [],
            found,
            query,
            FloatRows(vectors),
            scoring,
            rerank=True,
            block=3,
            also=np.array([], int),
            most=None,
        )
        assert ranked.ids[0].tolist() == order


def test_former_exports_give_no_weight_to_the_whole_cosine_of_pictures() -> None:
    assert _SCORING.whole_picture == 0
    more = replace(_SCORING, whole_picture=0.5).relevance(_EVIDENCE)
    np.testing.assert_allclose(more - _SCORING.relevance(_EVIDENCE), [0.4, 0.05], atol=1e-5)


def test_scores_are_sigmoids_and_very_low_log_probabilities_count_alike() -> None:
    logits = np.array([-0.6 + 8 + 0.8 - 3, -9 + 1 + 1.8 - 3])
    np.testing.assert_allclose(_SCORING.scores(_EVIDENCE), 1 / (1 + np.exp(-logits)), rtol=1e-4)


def test_without_weights_the_score_is_the_probability_of_the_decoder() -> None:
    scores = replace(_SCORING, weights=None).scores(_EVIDENCE)
    np.testing.assert_allclose(scores, np.exp(_EVIDENCE[:, 0]))
