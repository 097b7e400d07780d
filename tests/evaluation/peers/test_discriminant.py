from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from vitdsi.errors import UsageError
from vitdsi.evaluation.peers.base import Given
from vitdsi.evaluation.peers.discriminant import Discriminant
from vitdsi.evaluation.peers.spaces import normalised


def _photos(classes: np.ndarray) -> Given:
    """Photos whose class is a small difference along one axis, beside large ones along the others."""
    rng = np.random.default_rng(0)
    vectors = rng.uniform(0.5, 1.5, size=(len(classes), 10)).astype(np.float32)
    vectors[:, 0] = 0.1 + 0.3 * classes + rng.normal(0, 0.01, len(classes))
    return Given(vectors, len(classes), classes)


def test_photos_of_a_class_meet_however_much_they_vary_along_other_axes() -> None:
    given = _photos(np.arange(200) % 2)
    embedded = Discriminant().fit(given).embed(given.vectors)
    assert embedded.shape == (200, 1)
    assert np.mean((embedded[:, 0] > 0) == (given.classes == 1)) in (0, 1)


@pytest.mark.parametrize("classes", [[0, 0, 1], [0, 0, 1, 1, 2]])
def test_classes_of_a_few_photos_are_told_apart(classes: list[int]) -> None:
    given = _photos(np.array(classes))
    embedded = Discriminant().fit(given).embed(given.vectors)
    assert embedded.shape == (len(classes), max(classes)) and np.isfinite(embedded).all()
    assert embedded[0] @ embedded[1] > embedded[0] @ embedded[2]


def test_classes_of_single_photos_are_refused() -> None:
    with pytest.raises(UsageError, match="LDA needs a class of at least two photos"):
        Discriminant().fit(_photos(np.arange(3)))


def test_the_axes_are_those_of_scikit_learn_where_photos_are_many() -> None:
    given = _photos(np.arange(3000) % 3)
    given.vectors[:, 1] += given.classes == 2
    vectors = normalised(given.vectors)
    expected = LinearDiscriminantAnalysis(solver="eigen").fit(vectors, given.known_classes).transform(vectors)
    expected = normalised((expected - expected.mean(0)).astype(np.float32))
    embedded = Discriminant().fit(given).embed(given.vectors)
    assert np.abs(embedded @ embedded.T - expected @ expected.T).mean() < 0.1
