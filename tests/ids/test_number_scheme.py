from __future__ import annotations

import numpy as np
import pytest
from helpers_growth import GrowingCollection

from vitdsi.errors import UsageError
from vitdsi.ids import Growth, IdContext, scheme_named
from vitdsi.ids.capacity import capacity_left
from vitdsi.ids.codes import decode_numbers, encode_numbers


@pytest.mark.parametrize("scheme", ["random", "clustered"])
@pytest.mark.parametrize("variable", [False, True])
def test_codes_write_every_number_with_as_few_digits_as_the_largest(scheme: str, variable: bool) -> None:
    context = IdContext(101, 10, variable_length=variable, labels=["cat"] * 101)
    codes = scheme_named(scheme).assign(context)
    assert codes.shape == (101, 3 + variable)
    assert sorted(decode_numbers(codes, 10)) == list(range(101))


@pytest.mark.parametrize("scheme", ["random", "clustered"])
def test_numbers_that_end_with_eos_always_have_room(scheme: str) -> None:
    collection = GrowingCollection(encode_numbers(np.arange(10), 10, length=1, variable=True), 10, 0)
    assert capacity_left(collection.codes, collection.live, 10) == 0
    new = collection.add(scheme, 90)
    assert new.shape[1] == 3 and capacity_left(collection.codes, collection.live, 10) == 0
    assert (new[:, 2] == 10).all()


@pytest.mark.parametrize("scheme", ["random", "clustered"])
def test_numbers_above_the_range_of_int64_raise(scheme: str) -> None:
    full = np.c_[np.zeros((63, 63), dtype=np.int64), np.zeros(63, dtype=np.int64)]
    full[np.arange(63), np.arange(63)] = 1
    live = np.ones(63, dtype=bool)
    growth = Growth(full, live, 1, 2, labels=["cat"] * 63, new_labels=["cat"])
    with pytest.raises(UsageError, match="too many"):
        scheme_named(scheme).grow(growth)
