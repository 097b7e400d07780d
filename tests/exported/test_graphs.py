from __future__ import annotations

from pathlib import Path

import pytest

from vitdsi.errors import IndexFormatError
from vitdsi.exported.graphs import READ, Graphs, _threads, is_installed


def test_a_broken_graph_is_one_clear_error(export: Path) -> None:
    (export / READ).write_bytes(b"no graph")
    with pytest.raises(IndexFormatError, match="cannot run"):
        Graphs(export)


def test_onnx_runtime_is_found() -> None:
    assert is_installed()


@pytest.mark.parametrize("given, threads", [("2", 2), ("", 0), ("many", 0)])
def test_the_environment_sets_the_number_of_threads(
    monkeypatch: pytest.MonkeyPatch, given: str, threads: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert _threads() == threads
