from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np

from vitdsi.exported.best_first import Found
from vitdsi.exported.heads import FloatRows
from vitdsi.exported.rank import Scoring, rank
from vitdsi.search.ranking import FirstPlace

_SCORING = Scoring(
    categories=2,
    part_penalty=0.05,
    log_prob=0.05,
    picture=0.5,
    category=1.0,
    same=20.0,
    same_above=0.7,
    weights=(0.3, 10.0, 2.0),
    bias=-3.0,
    lowest_log_prob=-30.0,
    sharpness=10.0,
    first=FirstPlace(0.2, 9.0),
    first_of_parts=None,
)
_EVIDENCE = np.array([[-2.0, 0.8, 0.4], [-40.0, 0.1, 0.9]], np.float32)


def test_relevance_is_a_weighted_sum_of_the_evidence() -> None:
    np.testing.assert_allclose(
        _SCORING.relevance(_EVIDENCE), [0.4 - 0.1 + 0.4 + 2, 0.9 - 2 + 0.05], rtol=1e-5
    )


def test_a_manifest_holds_what_decides_the_first_place() -> None:
    values = {**asdict(_SCORING), "first": {"log_prob": 0.2, "above": 9.0}}
    assert Scoring.of(values) == _SCORING
    assert Scoring.of({**values, "first": None}).first is None


def test_a_claim_above_the_limit_has_the_first_place_of_a_query_that_is_read_whole() -> None:
    # Pictures in the first two numbers, categories in the others: the first image is alike, the second akin.
    vectors = np.array([[1, 0.2, 0, 1], [0, 1, 1, 0], [0.1, 1, 0.6, 1]], np.float32)
    query = np.array([[1, 0, 1, 0]], np.float32)
    found = [Found(np.arange(3), np.array([-2, -1, -3], np.float32), True)]
    kinship = [1, 2, 0]
    for above, order in ((None, [0, 1, 2]), (9.0, [0, 1, 2]), (9.6, kinship)):
        scoring = replace(_SCORING, picture=0.0, same=0.0, first=FirstPlace(0.2, above))
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


def test_scores_are_sigmoids_and_very_low_log_probabilities_count_alike() -> None:
    logits = np.array([-0.6 + 8 + 0.8 - 3, -9 + 1 + 1.8 - 3])
    np.testing.assert_allclose(_SCORING.scores(_EVIDENCE), 1 / (1 + np.exp(-logits)), rtol=1e-4)


def test_without_weights_the_score_is_the_probability_of_the_decoder() -> None:
    scores = replace(_SCORING, weights=None).scores(_EVIDENCE)
    np.testing.assert_allclose(scores, np.exp(_EVIDENCE[:, 0]))
