from __future__ import annotations

import numpy as np
import pytest
import torch

from vitdsi.collection.validation import check_array, check_numbers, check_offsets


def test_arrays_of_the_expected_type_and_shape_pass() -> None:
    check_array("rows", np.zeros((3, 4), np.uint8), "uint8", None, 4)
    check_array("codes", np.zeros((3, 4), np.int16), "int", None, None)


@pytest.mark.parametrize(
    "array", [np.zeros((3, 5), np.uint8), np.zeros(4, np.uint8), np.zeros((3, 4), np.int8), np.uint8(1)]
)
def test_arrays_of_another_type_or_shape_are_named(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"rows are u?int8 .*, where uint8 \(None, 4\) is expected"):
        check_array("rows", array, "uint8", None, 4)


def test_numbers_in_range_pass_and_others_are_named() -> None:
    check_numbers("ids", torch.tensor([0, 2]), 3)
    check_numbers("ids", torch.tensor([-1, 2]), 3, first=-1)
    check_numbers("ids", np.array([], np.int64), 0)
    for numbers in ([-1, 2], [0, 3]):
        with pytest.raises(ValueError, match="ids are not all from 0 to 2"):
            check_numbers("ids", torch.tensor(numbers), 3)


def test_offsets_ascend_from_zero_to_the_number_of_values() -> None:
    check_offsets("offsets", np.array([0, 2, 2, 5]), 5)
    check_offsets("offsets", np.array([0]), 0)
    for offsets in ([], [1, 5], [0, 4], [0, 6, 5], [0, -1, 5]):
        with pytest.raises(ValueError, match="offsets do not ascend from 0 to 5"):
            check_offsets("offsets", np.array(offsets, np.int64), 5)
