from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from vitdsi.paper.log import CurveLog

POINTS = [{"step": step, "epoch": step / 4, "loss": 1 / step, "accuracy": 0.5} for step in (10, 20)]


def log(folder: Path, said: list[str]) -> None:
    curves = CurveLog(folder, said.append)
    for phase in ("indexing", "retrieval"):
        for point in POINTS:
            curves.add(phase, point)
    curves.close()


def test_second_run_replaces_the_lines_and_events_of_the_first(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    said: list[str] = []
    log(tmp_path / "cell", said)
    log(tmp_path / "cell", said)
    lines = [json.loads(line) for line in (tmp_path / "cell" / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"phase": phase, **point} for phase in ("indexing", "retrieval") for point in POINTS]
    assert said == [] and len(list((tmp_path / "cell").glob("events.*"))) == 1
    read = events.EventAccumulator(str(tmp_path / "cell"))
    read.Reload()
    assert sorted(read.Tags()["scalars"]) == [
        f"{phase}/{name}" for phase in ("indexing", "retrieval") for name in ("accuracy", "epoch", "loss")
    ]
    found = [(event.step, event.value) for event in read.Scalars("retrieval/loss")]
    assert found == [(10, pytest.approx(0.1)), (20, pytest.approx(0.05))]


def test_points_are_written_immediately(tmp_path: Path) -> None:
    curves = CurveLog(tmp_path)
    curves.add("joint", POINTS[0])
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["step"] == 10
    curves.close()


def test_without_tensorboard_only_lines_are_written_and_a_note_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said: list[str] = []
    log(tmp_path, said)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    (line,) = said
    assert "vitdsi[experiments]" in line
