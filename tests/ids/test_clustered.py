from __future__ import annotations

import numpy as np
import pytest

from vitdsi.errors import UsageError
from vitdsi.ids import Growth, IdContext
from vitdsi.ids.clustered import ClusteredIds, positions_by_class
from vitdsi.ids.codes import encode_numbers


def test_ids_of_a_class_are_consecutive() -> None:
    classes = [f"class {i % 3}" for i in range(90)]
    codes = ClusteredIds().assign(IdContext(90, 10, labels=classes))
    order = np.lexsort(codes.T[::-1])
    labels = [classes[i] for i in order]
    assert labels == sorted(labels)


def test_new_ids_are_next_to_their_class() -> None:
    numbers = np.r_[np.arange(20, 40), np.arange(60, 80)]
    codes = encode_numbers(numbers, 10, length=2)
    labels, live = ["cat"] * 20 + ["dog"] * 20, np.ones(40, dtype=bool)
    growth = Growth(codes, live, 4, 10, labels=labels, new_labels=["dog", "cat", "dog", "cat"])
    new = ClusteredIds().grow(growth)
    assert set((new[[1, 3]] @ [10, 1]).tolist()) <= {18, 19, 40, 41}
    assert set((new[[0, 2]] @ [10, 1]).tolist()) <= {58, 59, 80, 81}
    live[5] = False
    new = ClusteredIds().grow(Growth(codes, live, 1, 10, labels=labels, new_labels=["cat"]))
    assert (new[0] @ [10, 1]) in (19, 25, 40)


def test_assign_without_labels_raises() -> None:
    with pytest.raises(UsageError, match="labels=folder"):
        ClusteredIds().assign(IdContext(3, 10))


def test_positions_by_class_are_in_the_order_of_the_names() -> None:
    groups = positions_by_class(["b", "a", "b"])
    assert list(groups) == ["a", "b"]
    assert groups["b"].tolist() == [0, 2]
