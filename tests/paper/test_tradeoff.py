from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers_cli import run
from helpers_experiments import SHORT, SIZE, class_folders

from vitdsi.paper import curve as module
from vitdsi.paper.curve import LINES
from vitdsi.paper.tradeoff import at_accuracy

for _library in ("cv2", "matplotlib"):
    pytest.importorskip(_library)


def points(*states: tuple[float, float, float]) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "metrics": {"IA@1": {"value": accuracy}, "P@10": {"value": precision}}}
        for epoch, accuracy, precision in states
    ]


def test_state_is_interpolated_where_the_line_first_falls_to_the_accuracy() -> None:
    line = points((0, 1.0, 0.1), (1, 0.6, 0.1), (2, 0.2, 0.3), (3, 0.5, 0.4), (4, 0.1, 0.5))
    assert at_accuracy(line, 0.4) == pytest.approx((1.5, 0.2))
    assert at_accuracy(line, 0.2) == pytest.approx((2.0, 0.3))
    assert at_accuracy(line, 0.05) is None


def test_command_writes_table_and_figure_and_leaves_out_what_is_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POINTS", (0, 10))
    photos, out = class_folders(tmp_path / "photos"), tmp_path / "out"
    given = ["experiment", "tradeoff", photos, "-o", out, "--sizes", SIZE, "--image-size", 32]
    given += ["--bovw-size", 32, *SHORT]
    missing = run(*given, "--finished")
    assert missing.exit_code != 0 and "no line of the trade-off is finished" in missing.stderr
    first = run(*given)
    assert first.exit_code == 0, first.output
    content = json.loads((out / "tradeoff.json").read_text())
    assert [line["line"] for line in content["lines"]] == [line.name for line in LINES]
    assert [row["method"] for row in content["references"]] == [
        "fine-tuned",
        "ours by examples",
        "BoVW improved",
    ]
    zero_shot = [line["points"][0]["metrics"]["IA@1"] for line in content["lines"]]
    assert all(metric == zero_shot[0] for metric in zero_shot)
    assert {"tradeoff.md", "tradeoff.png", "tradeoff.svg"} <= {path.name for path in out.iterdir()}
    again = run(*given, "--finished", "--seeds", "0,1")
    assert again.exit_code == 0 and ": started" not in again.stderr
    assert json.loads((out / "tradeoff.json").read_text())["lines"] == content["lines"]
