from __future__ import annotations

import numpy as np
import pytest

from vitdsi.columns.hashes import ContentHashes

GIVEN = ["00ff34567890abcdef01", "", "ffffffffffffffff", "00ff34567890abcd", "80" * 16]
KEPT = ["00ff34567890abcd", "", "ffffffffffffffff", "00ff34567890abcd", "80" * 8]


def test_the_first_64_bits_are_kept() -> None:
    hashes = ContentHashes.of(GIVEN)
    assert hashes == KEPT and hashes[0] == KEPT[0] and hashes[1:] == KEPT[1:] and hashes[-1] == KEPT[-1]
    assert hashes.at(np.array([2, 1])) == ["f" * 16, ""]
    assert hashes.rows.since(0).nbytes == 8 * len(GIVEN)
    with pytest.raises(IndexError, match="none at 5"):
        hashes[5]


def test_find_returns_all_rows_of_a_hash_and_none_of_no_hash() -> None:
    hashes = ContentHashes.of(GIVEN)
    assert hashes.find(["", GIVEN[0], "0" * 15 + "1", "f" * 32]) == [[], [0, 3], [], [2]]


def test_joined_and_taken_hashes() -> None:
    hashes = ContentHashes.of(GIVEN[:2]).joined(GIVEN[2:])
    assert hashes == KEPT and hashes.take(np.array([4, 0])) == [KEPT[4], KEPT[0]]
