"""The store of facts by id: values, edits that share rows, and conditions."""

from __future__ import annotations

import datetime
import decimal
import enum
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_facts import column, contents, store

from vitdsi.errors import UsageError
from vitdsi.facts.store import MetadataStore


class Mood(str, enum.Enum):
    CALM = "calm"


# ---- values


@pytest.mark.parametrize(
    ("given", "kind", "kept"),
    [
        ([1, None, -3], "integer", [1, None, -3]),
        ([True, False], "integer", [1, 0]),
        ([1, 2.5], "real", [1.0, 2.5]),
        ([float("nan"), 2.5, float("inf")], "real", [None, 2.5, float("inf")]),
        ([1, 2.5, "x"], "text", ["1", "2.5", "x"]),
        ([True, "x"], "text", ["1", "x"]),
        (["", "007"], "text", ["", "007"]),
        ([2**63 - 1, -(2**63)], "integer", [2**63 - 1, -(2**63)]),
        ([2**63, 1], "text", [str(2**63), "1"]),
        ([[1, "é"], {"a": None}, ()], "text", ['[1, "é"]', '{"a": null}', "[]"]),
        ([[Mood.CALM, datetime.date(2019, 7, 1)]], "text", ['["calm", "2019-07-01"]']),
        (
            [datetime.datetime(2019, 7, 1, 12), datetime.date(2019, 7, 1)],
            "text",
            ["2019-07-01T12:00:00", "2019-07-01"],
        ),
        ([np.int64(3), np.float32(0.5), np.bool_(True)], "real", [3.0, 0.5, 1.0]),
        ([np.str_("a"), Mood.CALM, b"b\xff"], "text", ["a", "calm", "b\ufffd"]),
        ([np.datetime64("2019-07-01"), np.datetime64("NaT", "D")], "text", ["2019-07-01", None]),
        ([np.array([1, 2])], "text", ["[1, 2]"]),
        ([decimal.Decimal("2.5")], "real", [2.5]),
        (["a\udc80é"], "text", ["a?é"]),
        ([Path("a")], "text", ["a"]),
    ],
)
def test_values_are_converted_to_what_sqlite_can_hold(
    tmp_path: Path, given: list[Any], kind: str, kept: list[Any]
) -> None:
    facts = store(*given)
    facts.save(tmp_path / "m.sqlite")
    for each in (facts, MetadataStore.load(tmp_path / "m.sqlite")):
        assert each.columns() == {"x": kind}
        assert column(each, len(given)) == kept
        assert [type(value) for value in column(each, len(given))] == [type(value) for value in kept]


def test_missing_values_create_no_column_and_no_key() -> None:
    facts = MetadataStore.create({3: {"a": None, "b": float("nan")}, 4: {"c": 1, "a": None}})
    assert facts.columns() == {"c": "integer"}
    assert facts.rows([3, 4, 5, np.int64(4)]) == {3: {}, 4: {"c": 1}, 5: {}}


def test_column_names_ignore_case_and_the_last_value_of_a_row_counts() -> None:
    facts = MetadataStore.create({0: {"Width": 1}, 1: {"width": 2}, 2: {"WIDTH": 3, "width": 4, "Größe": 1}})
    facts = facts.adding({3: {"wIDTH": "x", "GRÖSSE": None, "gröSSe": 5}})
    assert facts.columns() == {"Width": "text", "Größe": "integer"}
    assert column(facts, 4, "Width") == ["1", "2", "4", "x"]
    assert column(facts, 4, "Größe") == [None, None, 1, 5]


@pytest.mark.parametrize("name", ["a b", 'q"uo`te', "'", "select", "rowid", "id", "é🙂", "a;--", "[x]", " "])
def test_column_of_any_name_can_be_filtered_and_saved(tmp_path: Path, name: str) -> None:
    facts = MetadataStore.create({5: {name: 1, "other": 2}, 6: {name: 2}})
    facts.save(tmp_path / "m.sqlite")
    for each in (facts, MetadataStore.load(tmp_path / "m.sqlite")):
        assert each.ids_where(f"`{name.replace('`', '``')}` = 2").tolist() == [6]
        assert each.columns() == {name: "integer", "other": "integer"}


def test_nul_is_removed_and_surrogates_replaced_in_column_names() -> None:
    facts = MetadataStore.create({0: {"a\0b": 1, "c\udc80": 2}})
    assert facts.columns() == {"ab": "integer", "c?": "integer"}
    assert facts.ids_where("ab = 1 and `c?` = 2").tolist() == [0]


@pytest.mark.parametrize("name", ["vitdsi_id", "VITDSI_ID", ""])
def test_reserved_or_empty_column_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a metadata column"):
        store(1, name=name)


def test_1000_columns_work_and_more_are_refused(tmp_path: Path) -> None:
    facts = MetadataStore.create({0: {f"c{i}": i for i in range(1000)}})
    facts.save(tmp_path / "m.sqlite")
    assert MetadataStore.load(tmp_path / "m.sqlite").ids_where("c999 = 999").tolist() == [0]
    with pytest.raises(UsageError, match="1001 columns, but at most 1000"):
        facts.adding({1: {"one more": 1}})


# ---- edits


def test_added_rows_make_another_store_and_leave_the_first_alone() -> None:
    before = MetadataStore.create({0: {"a": 1}, 1: {"a": 2}, 2: {}})
    before.ids_where("a = 1")
    added = before.adding({7: {"b": "x"}, 9: {}})
    assert contents(before, 8)[1] == {i: {"a": i + 1} if i < 2 else {} for i in range(8)}
    assert before.columns() == {"a": "integer"}
    assert added.columns() == {"a": "integer", "b": "text"}
    assert added.rows([0, 7, 8]) == {0: {"a": 1}, 7: {"b": "x"}, 8: {}}
    assert added.ids_where("a is not null or b = 'x'").tolist() == [0, 1, 7]
    assert added.ids_where("a is null").tolist() == [2, 7, 9]
    assert before.ids_where("a = 1").tolist() == [0]


@pytest.mark.parametrize("number", [0, 2])
def test_id_that_is_not_higher_than_those_before_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=f"the id {number} is not higher"):
        store("a", "b", "c").adding({number: {}, 5: {}})


def test_changing_given_or_returned_rows_leaves_the_store_alone() -> None:
    given: dict[int, dict[str, Any]] = {0: {"a": 1}}
    facts = MetadataStore.create(given)
    given[0]["a"] = 2
    facts.rows([0])[0]["a"] = 3
    facts.columns()["z"] = "text"
    assert contents(facts, 1) == ({"a": "integer"}, {0: {"a": 1}})


def test_column_widens_for_old_and_new_rows_in_memory_and_in_files(tmp_path: Path) -> None:
    whole = store(1, None, 2, *([3] * 20))
    whole.save(tmp_path / "m.sqlite")
    for first in (whole, MetadataStore.load(tmp_path / "m.sqlite")):
        real = first.adding({30: {"x": 0.1 + 0.2}, 31: {"x": 7}, 32: {"y": 5}})
        text = real.adding({40: {"x": "n/a"}})
        assert column(first, 3) == [1, None, 2]
        assert column(real, 3) == [1.0, None, 2.0] and column(real, 33)[30:] == [0.1 + 0.2, 7.0, None]
        assert {type(value) for value in column(real, 33)} == {float, type(None)}
        assert column(text, 41)[30:] == [str(0.1 + 0.2), "7.0", *[None] * 8, "n/a"]
        assert real.ids_where("x = 2 or x = 7 or x < 1").tolist() == [2, 30, 31]
        assert text.ids_where("x = '2.0' or x = '2' or x = '0.30000000000000004'").tolist() == [
            2 if column(text, 3)[2] in ("2", "2.0") else -1,
            30,
        ]
        assert text.ids_where("x = 'n/a' or y = 5").tolist() == [32, 40]
        assert text.ids_where("y is null").tolist() == [*range(23), 30, 31, 40]


def test_taken_rows_get_the_places_in_the_list_as_ids() -> None:
    facts = store("a", "b", "c", "d").take([1, 3])
    assert column(facts, 4) == ["b", "d", None, None]
    assert facts.ids_where("not x = 'b'").tolist() == [1]


def test_many_additions_make_few_tables() -> None:
    facts = store(*range(100))
    for i in range(60):
        facts = facts.adding({100 + i: {"x": i, f"c{i % 3}": i}})
    assert len(facts._tables) <= 5
    assert facts.ids_where("x = 30 or c0 = 30 or c1 = 31").tolist() == [30, 130, 131]
    assert facts.rows([159]) == {159: {"x": 59, "c2": 59}}


# ---- conditions


def test_ids_where_returns_sorted_int64() -> None:
    facts = MetadataStore.create({i: {"x": i % 3} for i in (2**40, 5, 300, 2, 8)})
    ids = facts.ids_where("x = 2")
    assert ids.dtype == np.int64
    assert ids.tolist() == [2, 5, 8]
    assert facts.ids_where("x < 2").tolist() == [300, 2**40]
    nothing = facts.ids_where("x = 9")
    assert nothing.shape == (0,) and nothing.dtype == np.int64


def test_ids_without_facts_are_found_if_they_have_a_row() -> None:
    facts = MetadataStore.create({0: {"x": 1}, 1: {}, 2: {"y": 1}})
    assert facts.ids_where("not x = 1").tolist() == [1, 2]
    assert facts.ids_where("x is null").tolist() == [1, 2]


def test_mistake_in_a_condition_is_a_usage_error_and_changes_nothing() -> None:
    facts = store("a", "b")
    for text in ("y = 1", "x = 1", "x = ", "x = 'a'; DROP TABLE facts"):
        with pytest.raises(UsageError):
            facts.ids_where(text)
    assert facts.ids_where("x = 'b'").tolist() == [1]


@pytest.mark.parametrize("rows", [{}, {0: {}, 1: {"x": None}}])
def test_condition_on_a_store_without_facts_says_how_to_give_some(
    tmp_path: Path, rows: dict[int, dict[str, Any]]
) -> None:
    facts = MetadataStore.create(rows)
    facts.save(tmp_path / "m.sqlite")
    for each in (facts, MetadataStore.load(tmp_path / "m.sqlite")):
        assert each.columns() == {}
        with pytest.raises(UsageError, match=r"no metadata.*--metadata FILE"):
            each.ids_where("x = 1")


def test_several_threads_can_evaluate_conditions_at_once(tmp_path: Path) -> None:
    store(*(i % 50 for i in range(3000))).save(tmp_path / "m.sqlite")
    facts = MetadataStore.load(tmp_path / "m.sqlite")
    wrong: list[object] = []

    def evaluate(seed: int) -> None:
        rng = random.Random(seed)
        try:
            for _ in range(30):
                value = rng.randrange(50)
                if facts.ids_where(f"x = {value}").tolist() != list(range(value, 3000, 50)):
                    wrong.append(value)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=evaluate, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
