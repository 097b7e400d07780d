from __future__ import annotations

import numpy as np
import pytest

from vitdsi.columns.labels import Labels

GIVEN = ["dog", "cat", "dog", "é"]


def test_labels_are_numbers_of_classes() -> None:
    labels = Labels.of(GIVEN)
    assert (
        labels == GIVEN and labels.classes == ("dog", "cat", "é") and labels.numbers.tolist() == [0, 1, 0, 2]
    )
    assert labels[1] == "cat" and labels[-1] == "é" and labels[1:3] == ["cat", "dog"] and labels != GIVEN[:1]
    with pytest.raises(IndexError, match="none at 4"):
        labels[4]


def test_joined_labels_keep_the_numbers_of_their_classes() -> None:
    labels = Labels.of(GIVEN).joined(["ant", "cat"])
    assert labels == [*GIVEN, "ant", "cat"] and labels.classes == ("dog", "cat", "é", "ant")
    taken = labels.take(np.array([4, 3]))
    assert taken == ["ant", "é"] and taken.classes == labels.classes
