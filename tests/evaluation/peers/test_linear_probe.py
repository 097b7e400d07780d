from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from vitdsi.evaluation.peers.linear_probe import LinearProbe
from vitdsi.evaluation.peers.spaces import Raw, normalised


def _photos() -> tuple[np.ndarray, list[str], np.ndarray]:
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, 1, size=(3, 8))
    labels = [i % 3 for i in range(60)]
    queries = centres[[0, 1, 2]] + rng.normal(0, 0.2, (3, 8))
    return centres[labels] + rng.normal(0, 0.3, (60, 8)), ["abc"[i] for i in labels], queries


def test_images_are_ranked_by_class_probability_and_then_by_cosine() -> None:
    vectors, labels, queries = _photos()
    probe = LinearProbe(Raw())
    ids, scores = probe.fit(vectors, labels).search(queries, 60)
    probabilities = probe.model.predict_proba(normalised(queries.astype(np.float32)))
    own = np.array(["abc".index(label) for label in labels])
    assert_allclose(scores, np.take_along_axis(probabilities[:, own], ids, axis=1), rtol=1e-4)
    cosines = normalised(queries.astype(np.float32)) @ normalised(vectors.astype(np.float32)).T
    for q in range(3):
        for start in (0, 20, 40):  # a class after the other, each from the nearest to the farthest
            part = ids[q, start : start + 20]
            assert len({labels[i] for i in part}) == 1
            assert np.all(np.diff(cosines[q, part]) <= 1e-6)


@pytest.mark.parametrize("labels", ["ab", "abc", "aabb"])
def test_classes_with_too_few_photos_to_choose_c_are_learned_all_the_same(labels: str) -> None:
    vectors = np.eye(len(labels))
    ids, _ = LinearProbe(Raw()).fit(vectors, list(labels)).search(vectors, 1)
    assert ids[:, 0].tolist() == list(range(len(labels)))


def test_folds_that_lack_a_class_do_not_prevent_the_choice_of_c() -> None:
    vectors = np.eye(8)
    ids, _ = LinearProbe(Raw()).fit(vectors, list("aaaaaaab")).search(vectors, 8)
    assert sorted(ids[0].tolist()) == list(range(8))


def test_photos_that_are_not_indexed_train_the_probe() -> None:
    vectors, labels, queries = _photos()
    few = LinearProbe(Raw()).fit(vectors[:3], labels[:3], vectors[3:], labels[3:])
    assert few.model.n_features_in_ == 8 and len(few.search(queries, 60)[0][0]) == 60
    alone = LinearProbe(Raw()).fit(vectors[:3], labels[:3])
    assert not np.allclose(few.model.coef_, alone.model.coef_)
    assert np.all(few.search(queries, 60)[0][:, 3:] == -1)
