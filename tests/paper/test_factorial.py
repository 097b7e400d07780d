from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers_cli import run
from helpers_experiments import SHORT, SIZE, class_folders

pytest.importorskip("matplotlib")


def test_command_writes_effects_and_combinations_and_finished_seeds_only_on_request(tmp_path: Path) -> None:
    photos, out = class_folders(tmp_path / "photos"), tmp_path / "out"
    given = ["experiment", "factorial", photos, "-o", out, "--size", SIZE, "--image-size", 16]
    given += ["--examples", 160, *SHORT]
    first = run(*given)
    assert first.exit_code == 0, first.output
    content = json.loads((out / "factorial.json").read_text())
    assert len(content["rows"]) == 16 and len(content["effects"]) == 6 + 7
    by_name = {row["method"]: row["metrics"]["P@10"]["value"] for row in content["rows"]}
    joint = [value for name, value in by_name.items() if name.startswith("J")]
    others = [value for name, value in by_name.items() if not name.startswith("J")]
    effect = content["effects"][0]
    assert effect["factors"] == ["joint schedule"]
    assert effect["P@10"]["value"] == pytest.approx(sum(joint) / 8 - sum(others) / 8, abs=1e-6)
    text = (out / "factorial.md").read_text()
    assert "| joint schedule |" in text and "| J x M, C x B |" in text and "| JMCABR |" in text
    assert {"factorial.png", "factorial.svg"} <= {path.name for path in out.iterdir()}

    again = run(*given, "--seeds", "0,1", "--finished")
    assert again.exit_code == 0, again.output
    assert json.loads((out / "factorial.json").read_text())["rows"][0]["seeds"] == [0]
    missing = run(*given, "--seeds", "5", "--finished")
    assert missing.exit_code != 0 and "no seed has all combinations" in missing.stderr
