from __future__ import annotations

import pytest

from vitdsi.errors import UsageError
from vitdsi.facts.facets import count_values
from vitdsi.facts.store import MetadataStore

ROWS = {
    0: {"camera": "Acme", "year": 2019},
    1: {"camera": "Acme", "year": 2020},
    2: {"camera": "Zeta", "year": 2019, "note": "x"},
    3: {"year": 2018},
    4: {},
}
STORE = MetadataStore.create(ROWS)


def test_values_are_sorted_by_count_then_by_value() -> None:
    (year,) = count_values(STORE, ROWS, ["year"])
    assert year.values == ((2019, 2), (2018, 1), (2020, 1))
    assert (year.distinct, year.missing) == (3, 1)


def test_only_the_given_ids_are_counted() -> None:
    camera, year = count_values(STORE, [1, 2], ["camera", "Year"])
    assert camera.values == (("Acme", 1), ("Zeta", 1))
    assert (year.column, year.missing) == ("year", 0)


def test_limit_leaves_out_rare_values_but_counts_them_as_distinct() -> None:
    (year,) = count_values(STORE, ROWS, ["year"], limit=1)
    assert (year.values, year.distinct) == (((2019, 2),), 3)
    with pytest.raises(UsageError, match="limit is 0"):
        count_values(STORE, ROWS, limit=0)


def test_default_leaves_out_columns_with_many_values_or_none() -> None:
    store = MetadataStore.create({i: {"bytes": i, "kind": i % 2, "odd": 1} for i in range(51)})
    assert [facet.column for facet in count_values(store, range(51))] == ["kind", "odd"]
    assert [facet.distinct for facet in count_values(store, range(50), ["bytes"])] == [50]
    assert [facet.column for facet in count_values(STORE, [0, 1])] == ["camera", "year"]


def test_unknown_column_names_those_that_exist() -> None:
    with pytest.raises(UsageError, match="unknown column 'lens'; the columns are camera, year, note"):
        count_values(STORE, ROWS, ["lens"])
    with pytest.raises(UsageError, match="has no metadata"):
        count_values(MetadataStore.create({}), [], ["lens"])
