from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from helpers_cli import lines, run

New = Callable[..., Path]


def test_groups_are_json_lines_larger_ones_first(copies: Path) -> None:
    result = run("duplicates", copies)
    assert result.exit_code == 0
    assert lines(result) == [
        {"group": 1, "image_ids": ["2 again.png", "2 and again.png", "2.png"]},
        {"group": 2, "image_ids": ["0 mirrored.png", "0.png"]},
        {"group": 3, "image_ids": ["1 small.jpg", "1.png"]},
    ]
    assert result.stderr == "groups of near-identical images: 3; images beyond the first of each: 4\n"


def test_plain_output_lists_each_group(copies: Path) -> None:
    shown = run("duplicates", copies, "--plain").stdout
    assert shown.splitlines()[:4] == ["group 1", "  2 again.png", "  2 and again.png", "  2.png"]
    assert shown.splitlines()[4] == "group 2"


def test_higher_threshold_finds_fewer_groups(copies: Path) -> None:
    strict = lines(run("duplicates", copies, "--threshold", 1.1999))
    assert [line["image_ids"] for line in strict] == [
        ["2 again.png", "2 and again.png", "2.png"],
        ["0 mirrored.png", "0.png"],
    ]
    everything = lines(run("duplicates", copies, "--threshold", 0))
    assert [len(line["image_ids"]) for line in everything] == [12]
    assert run("duplicates", copies, "--threshold", 1.3).exit_code == 2


def test_index_without_near_identical_images_has_no_groups(dsi: Path) -> None:
    result = run("duplicates", dsi, "--threshold", 1.19)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "groups of near-identical images: 0; images beyond the first of each: 0\n"


def test_removed_images_are_in_no_group(copies: Path, tmp_path: Path) -> None:
    dsi = shutil.copytree(copies, tmp_path / "copied.dsi")
    extra = [name for line in lines(run("duplicates", dsi)) for name in line["image_ids"][1:]]
    assert run("remove", dsi, "--from-file", "-", stdin="\n".join(extra).encode()).exit_code == 0
    assert lines(run("duplicates", dsi)) == []
