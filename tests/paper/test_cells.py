from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vitdsi.paper.cells import Cell, CellStore

CELL = Cell("photos", "class", 512, "random", "fine-tuned", 0, {"split": "ab", "config": {"lr": (1, 2)}})
RESULT = {
    "metrics": {},
    "values": {},
    "paper": {},
    "seconds": 1.5,
    "steps": 3,
    "examples": 96,
    "petaflops": 0.1,
    "history": {},
    "indexed": 128,
}


def test_key_contains_all_attributes_as_json_types() -> None:
    key = CELL.key()
    assert json.loads(json.dumps(key)) == key
    assert set(key) == {"dataset", "relevance", "size", "scheme", "method", "seed", "settings"}
    assert key["settings"] == {"split": "ab", "config": {"lr": [1, 2]}}


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "others"},
        {"relevance": "largest"},
        {"size": 1024},
        {"scheme": "clustered"},
        {"method": "ours"},
        {"seed": 1},
        {"settings": {"split": "ac", "config": {"lr": (1, 2)}}},
        {"settings": {"split": "ab", "config": {"lr": (1, 3)}}},
    ],
)
def test_changing_any_attribute_makes_another_cell(change: dict[str, Any], tmp_path: Path) -> None:
    other = replace(CELL, **change)
    assert other.name() != CELL.name()
    store = CellStore(tmp_path)
    store.save(CELL, RESULT)
    assert store.load(other) is None
    assert store.weights(other) != store.weights(CELL)


def test_name_is_a_readable_file_name() -> None:
    assert CELL.name() == replace(CELL, settings=dict(reversed(CELL.settings.items()))).name()
    assert CELL.name().startswith("photos-class-512-random-fine-tuned-seed0-")
    assert re.fullmatch(r"[A-Za-z0-9._-]+", replace(CELL, dataset="my/photos & more", method="BoVW x").name())


def test_load_returns_the_last_saved_result(tmp_path: Path) -> None:
    store = CellStore(tmp_path)
    assert store.load(CELL) is None
    store.save(CELL, RESULT)
    assert store.load(CELL) == RESULT
    store.save(CELL, {**RESULT, "steps": 4})
    assert CellStore(tmp_path).load(CELL) == {**RESULT, "steps": 4}
    assert [path.name for path in (tmp_path / "cells").iterdir()] == [f"{CELL.name()}.json"]


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"format": "x"}, {"key": {}}, {"result": {"steps": 3}}, {"result": None}]
)
def test_load_returns_none_for_files_of_another_format_or_cell(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    store = CellStore(tmp_path)
    store.save(CELL, RESULT)
    path = store.path(CELL)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert store.load(CELL) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"format": "vitdsi-cell"'])
def test_load_returns_none_for_a_broken_file(tmp_path: Path, content: bytes) -> None:
    store = CellStore(tmp_path)
    store.save(CELL, RESULT)
    store.path(CELL).write_bytes(content)
    assert store.load(CELL) is None
    store.save(CELL, RESULT)
    assert store.load(CELL) == RESULT
