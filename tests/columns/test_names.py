from __future__ import annotations

import numpy as np
import pytest

from vitdsi.columns import names as module
from vitdsi.columns.names import Names

GIVEN = ["a/1.jpg", "", "é🙂", "a/1.jpg", "x\udc80", "plain"]


def test_names_are_a_sequence_of_texts() -> None:
    names = Names.of(GIVEN)
    assert list(names) == GIVEN and names == GIVEN and names != GIVEN[:-1] and names != "a"
    assert [names[i] for i in range(6)] == GIVEN and names[-1] == "plain" and names[1:3] == GIVEN[1:3]
    assert "é🙂" in names and "b" not in names and 7 not in names
    assert len(Names.of([])) == 0 and list(Names.of([])) == []
    for index in (6, -7):
        with pytest.raises(IndexError, match="there are 6 names"):
            names[index]


def test_find_returns_all_rows_of_a_name() -> None:
    assert Names.of(GIVEN).find(["plain", "a/1.jpg", "nothing", "", "a/1.jpg"]) == [
        [5],
        [0, 3],
        [],
        [1],
        [0, 3],
    ]


def test_names_with_equal_hashes_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_hash", lambda name: len(name))
    assert Names.of(["aa", "bb", "c", "bb"]).find(["bb", "aa", "d", "dd"]) == [[1, 3], [0], [], []]


@pytest.mark.parametrize("steps", [[40, 7, 1, 2], [0, 50], [1] * 50])
def test_joined_names_are_found_and_stored_like_others(steps: list[int]) -> None:
    given = [f"folder {i % 7}/{i}" for i in range(50)]
    names, start = Names.of([]), 0
    lineage = names.lineage
    for step in steps:
        names, start = names.joined(given[start : start + step]), start + step
    assert names == given and names.lineage == lineage
    assert names.find(given) == [[i] for i in range(50)]
    for row in (0, 1, 40, 46, 49):
        parts = [names.since(row)] if row else [names.since(0)]
        assert Names.from_arrays(parts, "later") == given[row:]
    both = Names.from_arrays([Names.of(given[:30]).since(0), names.since(30)], "both")
    assert both == given and both.find([given[35]]) == [[35]]


def test_taken_names_are_another_sequence() -> None:
    names = Names.of(GIVEN)
    taken = names.take(np.array([5, 0]))
    assert taken == ["plain", "a/1.jpg"] and taken.find(["a/1.jpg", "é🙂"]) == [[1], []]
    assert taken.lineage != names.lineage


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    arrays = Names.of(GIVEN).since(0)
    with pytest.raises(ValueError, match="do not fit"):
        Names.from_arrays([{**arrays, "order": arrays["order"][:3]}], "broken")
