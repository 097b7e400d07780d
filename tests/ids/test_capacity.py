from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers_codes import path, random_codes

from vitdsi.errors import UsageError
from vitdsi.ids.capacity import capacity_left, length_for, slots_taken
from vitdsi.ids.codes import encode_numbers


def count_free_strings(codes: np.ndarray, base: int, length: int) -> int:
    """Digit strings of a length that neither begin with a code nor are the beginning of one, counted one by one."""
    used = [path(code, base) for code in codes]
    strings = itertools.product(range(base), repeat=length)
    return sum(not any(s[: len(u)] == u for u in used) for s in strings)


@pytest.mark.parametrize("kind", ["fixed", "mixed"])
@pytest.mark.parametrize("base", [2, 3])
def test_capacity_left_equals_a_count_of_all_free_strings(kind: str, base: int) -> None:
    for seed in range(5):
        codes = random_codes(kind, 9, base, seed)
        live = np.random.default_rng(seed).random(9) < 0.6
        expected = count_free_strings(codes[live], base, codes.shape[1])
        assert capacity_left(codes, live, base) == expected
    variable = encode_numbers(np.arange(6), base, length=5, variable=True)
    assert capacity_left(variable, np.ones(6, dtype=bool), base) == base**5 - 6


def test_capacity_left_without_one_row_of_live_per_code_raises() -> None:
    with pytest.raises(UsageError, match="4 rows for 5 codes"):
        capacity_left(encode_numbers(np.arange(5), 10, length=2), np.ones(4, dtype=bool), 10)


def test_slots_taken_are_counted_without_overflow() -> None:
    codes = np.array([[1, 2, 5, 6], [1, 1, 1, 1], [3, 6, 6, 6]])  # the first ends with EOS
    assert slots_taken(codes, 5, 4).tolist() == [0, 1, 125]
    assert slots_taken(codes, 5, 100).tolist() == [0, 5**96, 5**99]


def test_length_stays_while_one_slot_remains_free() -> None:
    codes = encode_numbers(np.arange(90), 10, length=2)
    live = np.ones(90, dtype=bool)
    assert [length_for(codes, live, 10, count) for count in (0, 9, 10, 11)] == [2, 2, 3, 3]
    live[:5] = False
    assert [length_for(codes, live, 10, count) for count in (14, 15)] == [2, 3]


def test_longer_codes_leave_room_for_a_tenth_of_the_collection() -> None:
    codes = encode_numbers(np.arange(90), 10, length=2)  # 9 spare slots; 100 free ones of 3 digits
    live = np.ones(90, dtype=bool)
    assert [length_for(codes, live, 10, count) for count in (91, 92)] == [3, 4]


def test_length_for_a_full_collection_raises_and_names_the_remedies() -> None:
    codes, live = encode_numbers(np.arange(16), 4, length=2), np.ones(16, dtype=bool)
    with pytest.raises(UsageError, match=r"0 slots are left for 3 new images: 16 .* \(compact\), or build"):
        length_for(codes, live, 4, 3)
    live[7] = False
    assert length_for(codes, live, 4, 3) == 3  # below the one free slot there are four of three digits
