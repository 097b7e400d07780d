from __future__ import annotations

import itertools

import numpy as np
import pytest

from vitdsi.columns.segments import Column, Ragged, segments_to_keep


def test_adding_one_row_at_a_time_leaves_few_segments_and_copies_each_row_seldom() -> None:
    lengths, copied = [1000], 0
    for _ in range(500):
        kept = segments_to_keep(lengths, 1)
        copied += sum(lengths[kept:])
        lengths = [*lengths[:kept], sum(lengths[kept:]) + 1]
        assert all(4 * after <= before for before, after in itertools.pairwise(lengths))
    assert len(lengths) <= 5 and sum(lengths) == 1500
    assert copied < 500 * 20


def grown(rows: np.ndarray, steps: list[int]) -> Column:
    made, start = Column([rows[: steps[0]]]), steps[0]
    for step in steps[1:]:
        made, start = made.joined(rows[start : start + step]), start + step
    return made


@pytest.mark.parametrize("steps", [[50], [40, 6, 1, 3], [0, 50], [30, 0, 20], [1] * 50])
def test_rows_are_the_same_however_they_came(steps: list[int]) -> None:
    rows = np.arange(100, dtype=np.int32).reshape(50, 2)
    made = grown(rows, steps)
    ids = np.array([49, 0, 39, 40, 46, 46, 1])
    assert len(made) == 50 and np.array_equal(made.at(ids), rows[ids])
    assert np.array_equal(made.take(ids).since(0), rows[ids])
    for row in (0, 1, 39, 40, 45, 49, 50):
        assert np.array_equal(made.since(row), rows[row:])


def test_rows_of_one_segment_are_not_copied() -> None:
    rows = np.zeros((5, 2))
    assert Column([rows]).since(0) is not rows and np.shares_memory(Column([rows]).since(0), rows)
    assert np.shares_memory(Column([rows]).joined(np.ones((1, 2))).since(0)[:5], rows) is False


def test_ragged_rows_keep_their_lengths() -> None:
    made = Ragged.of(np.arange(6), np.array([2, 0, 3, 1]))
    assert [made[i].tolist() for i in range(4)] == [[0, 1], [], [2, 3, 4], [5]]
    assert [row.tolist() for row in map(made.take(np.array([3, 1, 0])).__getitem__, range(3))] == [
        [5],
        [],
        [0, 1],
    ]
    assert len(made.take(np.array([], dtype=np.int64))) == 0
    later = made.since(2)
    assert later.offsets.tolist() == [0, 3, 4] and later.values.tolist() == [2, 3, 4, 5]
    both = Ragged.concatenated([made, later])
    assert len(both) == 6 and both[4].tolist() == [2, 3, 4]


def test_first_values_of_ragged_rows() -> None:
    rows = Ragged.of(np.arange(6), np.array([0, 4, 2]))
    for count in range(5):
        first = rows.first(count)
        assert [first[i].tolist() for i in range(3)] == [[], [0, 1, 2, 3][:count], [4, 5][:count]]
