from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers_cli import COUNT, lines, one_error_line, run

New = Callable[..., Path]


def part_sizes(dsi: Path) -> int:
    return sum(path.stat().st_size for path in dsi.iterdir() if path.name not in ("lock", "index.json"))


def test_compact_drops_removed_images_and_keeps_results(copied: Path, photos: Path) -> None:
    query = photos / "round" / "05.png"
    assert run("remove", copied, "round/01.png", "round/03.png").exit_code == 0
    before, size = lines(run("search", copied, query, "-k", 100)), part_sizes(copied)
    result = run("compact", copied, "--no-retrain")
    assert result.exit_code == 0, result.stderr
    (summary,) = lines(result)
    assert list(summary) == ["index", "images", "dropped", "retrained", "bytes_before", "bytes"]
    assert (summary["index"], summary["images"], summary["dropped"]) == (str(copied), COUNT - 2, 2)
    assert summary["retrained"] is False
    assert summary["bytes_before"] == size > summary["bytes"] == part_sizes(copied)
    assert result.stderr.startswith(
        f"dropped 2 removed images of {copied}; the model was not trained again; 0."
    )
    after = lines(run("search", copied, query, "-k", 100))
    assert [line["image_id"] for line in after] == [line["image_id"] for line in before]
    assert [line["score"] for line in after] == pytest.approx([line["score"] for line in before], abs=1e-5)
    assert sorted(line["id"] for line in after) == list(range(COUNT - 2))
    facts = json.loads(run("info", copied, "--json").stdout)
    assert (facts["images"], facts["removed"]) == (COUNT - 2, 0)


def test_retrain_learns_everything_again(copied: Path, photos: Path) -> None:
    assert run("remove", copied, "round/01.png").exit_code == 0
    result = run("compact", copied, "--retrain")
    (summary,) = lines(result)
    assert (summary["images"], summary["retrained"]) == (COUNT - 1, True)
    assert "indexing accuracy" in result.stderr and "the model was trained again" in result.stderr
    found = lines(run("search", copied, photos / "round" / "05.png", "-k", 100))
    assert found[0]["image_id"] == "round/05.png" and len(found) == COUNT - 1


def test_compact_learns_again_by_itself_after_many_changes(copied: Path) -> None:
    assert lines(run("compact", copied))[0]["retrained"] is False
    assert run("remove", copied, *range(COUNT // 2)).exit_code == 0
    assert lines(run("compact", copied))[0]["retrained"] is True


def test_compact_without_stored_features_learns_nothing_again(copied: Path) -> None:
    (summary,) = lines(run("compact", copied, "--drop-features"))
    assert summary["bytes_before"] - summary["bytes"] > COUNT * 3 * 32 * 32
    one_error_line(run("compact", copied, "--retrain"), 2, "has the features of all images")
    one_error_line(run("duplicates", copied), 2, "keeps no features")
    assert lines(run("compact", copied))[0]["retrained"] is False
