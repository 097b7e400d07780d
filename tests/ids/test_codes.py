from __future__ import annotations

import numpy as np
import pytest

from vitdsi.errors import UsageError
from vitdsi.ids.codes import Vocabulary, decode_numbers, digits_needed, encode_numbers


@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.parametrize("base", [2, 10, 37])
def test_decoding_inverts_encoding_for_every_number(base: int, variable: bool) -> None:
    numbers = np.arange(base**2)
    codes = encode_numbers(numbers, base, length=2, variable=variable)
    np.testing.assert_array_equal(decode_numbers(codes, base), numbers)
    assert len(np.unique(codes, axis=0)) == len(numbers)


def test_decimal_codes_spell_the_digits_of_the_number() -> None:
    np.testing.assert_array_equal(encode_numbers([407], 10, length=4), [[0, 4, 0, 7]])
    eos, pad = Vocabulary(10).eos, Vocabulary(10).pad
    codes = encode_numbers([0, 7, 407, 9999], 10, length=4, variable=True)
    expected = [[0, eos, pad, pad, pad], [7, eos, pad, pad, pad], [4, 0, 7, eos, pad], [9, 9, 9, 9, eos]]
    np.testing.assert_array_equal(codes, expected)


def test_digits_needed_changes_after_each_power_of_the_base() -> None:
    assert [digits_needed(n, 10) for n in (1, 10, 11, 100, 101)] == [1, 1, 2, 2, 3]


def test_numbers_out_of_range_and_bases_below_two_raise() -> None:
    with pytest.raises(UsageError, match=r"0\.\.99"):
        encode_numbers([100], 10, length=2)
    with pytest.raises(UsageError, match="at least 2"):
        Vocabulary(1)


@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.parametrize("base", [2, 10, 37])
def test_codes_are_prefix_free(base: int, variable: bool) -> None:
    codes = encode_numbers(np.arange(base**2), base, length=2, variable=variable)
    pad = Vocabulary(base).pad
    paths = {tuple(int(token) for token in code if token != pad) for code in codes}
    assert len(paths) == len(codes)
    assert not any(path[:t] in paths for path in paths for t in range(1, len(path)))


@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.parametrize(("base", "length"), [(2, 20), (10, 9), (37, 6)])
def test_extreme_numbers_of_many_digits_survive_a_round_trip(base: int, length: int, variable: bool) -> None:
    numbers = [0, 1, base - 1, base, base ** (length - 1), base**length - 1]
    codes = encode_numbers(numbers, base, length=length, variable=variable)
    assert codes.shape == (6, length + variable)
    assert decode_numbers(codes, base).tolist() == numbers
    with pytest.raises(UsageError, match=f"{length} digits of base {base}"):
        encode_numbers([0, base**length], base, length=length, variable=variable)
    with pytest.raises(UsageError):
        encode_numbers([-1], base, length=length, variable=variable)


@pytest.mark.parametrize("base", [1, 0, -3])
def test_digits_needed_with_a_base_below_two_raises(base: int) -> None:
    with pytest.raises(UsageError, match=f"base is {base}"):
        digits_needed(5, base)


def test_every_token_has_its_own_value() -> None:
    vocabulary = Vocabulary(10)
    assert sorted({*range(10), vocabulary.eos, vocabulary.pad, vocabulary.bos}) == list(range(13))
    assert vocabulary.outputs == 12 and vocabulary.bos >= vocabulary.outputs
