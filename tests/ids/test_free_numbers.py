from __future__ import annotations

import numpy as np
import pytest

from vitdsi.ids.free_numbers import FreeNumbers


def random_ranges(seed: int, total: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of random ranges that do not overlap."""
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.permutation(total + 1)[:60])
    pick = rng.permutation(30)
    return edges[0::2][pick], edges[1::2][pick]


def list_free(starts: np.ndarray, ends: np.ndarray, total: int = 200) -> set[int]:
    """All free numbers, listed one by one."""
    used = {n for s, e in zip(starts, ends, strict=True) for n in range(s, e)}
    return set(range(total)) - used


@pytest.mark.parametrize("seed", range(5))
def test_draw_returns_every_free_number_and_no_other(seed: int) -> None:
    starts, ends = random_ranges(seed)
    free = list_free(starts, ends)
    drawn = FreeNumbers(starts, ends, 200).draw(len(free), np.random.default_rng(seed))
    assert set(drawn.tolist()) == free and len(drawn) == len(free)


def test_draw_gives_every_free_number_the_same_chance() -> None:
    available = FreeNumbers(np.array([2, 6]), np.array([5, 7]), 10)  # free: 0, 1, 5, 7, 8, 9
    rng = np.random.default_rng(0)
    drawn = np.array([available.draw(2, rng) for _ in range(3000)])
    counts = np.bincount(drawn.reshape(-1), minlength=10)
    assert counts[[2, 3, 4, 6]].sum() == 0
    assert (abs(counts[[0, 1, 5, 7, 8, 9]] - 1000) < 130).all()


@pytest.mark.parametrize("seed", range(8))
def test_take_nearest_returns_the_nearest_free_number_each_time(seed: int) -> None:
    starts, ends = random_ranges(seed)
    free = list_free(starts, ends)
    available = FreeNumbers(starts, ends, 200)
    for own in (slice(0, 3), slice(3, 9), slice(9, 10)):
        members = {n for s, e in zip(starts[own], ends[own], strict=True) for n in range(s, e)}
        for number in available.take_nearest(starts[own], ends[own], 15).tolist():
            nearest = min(abs(f - m) for f in free for m in members)
            assert number in free
            assert min(abs(number - m) for m in members) == nearest
            free.remove(number)
            members.add(number)


def test_take_nearest_for_a_new_class_begins_in_the_largest_free_range() -> None:
    available = FreeNumbers(np.array([0, 5]), np.array([4, 10]), 100)
    none = np.empty(0, dtype=np.int64)
    numbers = available.take_nearest(none, none, 5)
    assert numbers[0] == 55
    assert sorted(numbers) == list(range(min(numbers), min(numbers) + 5))
    rest = available.take_nearest(none, none, 86)
    assert sorted([*rest, *numbers]) == [4, *range(10, 100)]
