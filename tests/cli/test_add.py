from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers_cli import COUNT, content, index, lines, live, one_error_line, run
from helpers_images import photo

from vitdsi.index import ImageIndex

New = Callable[..., Path]


def test_add_prints_one_json_line_and_records_the_change(copied: Path, new: New) -> None:
    before = json.loads(run("info", copied, "--json").stdout)
    folder = new("a.png", "b/c.png")
    result = run("add", copied, folder)
    assert result.exit_code == 0, result.stderr
    (summary,) = lines(result)
    assert list(summary) == ["index", "added", "replaced", "unchanged", "skipped", "images", "seconds"]
    assert (summary["index"], summary["added"], summary["images"]) == (str(copied), 2, COUNT + 2)
    assert (summary["replaced"], summary["unchanged"], summary["skipped"]) == (0, 0, 0)
    assert summary["seconds"] > 0
    assert result.stderr.splitlines()[-1] == f"added 2 images to the {COUNT} of {copied}"
    after = json.loads(run("info", copied, "--json").stdout)
    assert after["images"] == COUNT + 2
    assert after["capacity_left"] == before["capacity_left"] - 2
    assert [(change["verb"], change["images"]) for change in after["changes"]] == [("add", 2)]
    plain = run("info", copied).stdout
    assert "changes.1" in plain and "verb add, images 2, time 20" in plain


def test_new_images_are_found_and_old_ones_keep_their_ids(copied: Path, photos: Path, new: New) -> None:
    query = photos / "round" / "03.png"
    before = lines(run("search", copied, query, "-k", COUNT))
    assert run("add", copied, new("a.png", "b/c.png")).exit_code == 0
    after = lines(run("search", copied, query, "-k", 100))
    assert len(after) == COUNT + 2
    numbers = {line["image_id"]: line["id"] for line in after}
    assert {line["image_id"]: line["id"] for line in before}.items() <= numbers.items()
    assert (numbers["a.png"], numbers["b/c.png"]) == (COUNT, COUNT + 1)


def test_images_that_the_index_holds_are_left_out(copied: Path, photos: Path, tmp_path: Path) -> None:
    grown = Path(shutil.copytree(photos, tmp_path / "grown"))
    photo(seed=100).save(grown / "round" / "new.png")
    result = run("add", copied, grown)
    (summary,) = lines(result)
    assert (summary["added"], summary["unchanged"], summary["images"]) == (1, COUNT, COUNT + 1)
    assert result.stderr.splitlines()[-1].endswith(f"; {COUNT} were already there")
    assert live(copied)[COUNT:] == ["round/new.png"]
    (again,) = lines(run("add", copied, grown))
    assert (again["added"], again["unchanged"], again["images"]) == (0, COUNT + 1, COUNT + 1)


def test_prefix_is_put_before_new_image_ids(copied: Path, photos: Path) -> None:
    (summary,) = lines(run("add", copied, photos / "round", "--prefix", "2024/é "))
    assert (summary["added"], summary["images"]) == (COUNT // 2, COUNT + COUNT // 2)
    assert live(copied)[COUNT] == "2024/é 01.png"


def test_changed_content_is_refused_without_replace(copied: Path, photos: Path, new: New) -> None:
    folder = new("round/01.png", "round/fresh.png")
    before = content(copied)
    refused = run("add", copied, folder)
    assert (refused.exit_code, refused.stdout) == (2, "")
    error = refused.stderr.splitlines()[-1]
    assert error.startswith("error: in the index with another content: 1 image_ids, such as 'round/01.png'")
    assert "--replace" in error and "--prefix" in error
    assert content(copied) == before

    (summary,) = lines(run("add", copied, folder, "--replace"))
    assert (summary["added"], summary["replaced"], summary["images"]) == (2, 1, COUNT + 1)
    found = lines(run("search", copied, folder / "round" / "01.png", "-k", 100))
    assert [line["image_id"] for line in found].count("round/01.png") == 1
    assert {line["id"] for line in found if line["image_id"] == "round/01.png"} == {COUNT}


def test_unreadable_files_are_skipped_or_refused_with_strict(copied: Path, new: New) -> None:
    folder = new("a.png", "b.png")
    (folder / "bad.jpg").write_bytes(b"no image")
    before = content(copied)
    strict = run("add", copied, folder, "--strict")
    assert (strict.exit_code, strict.stdout) == (1, "")
    assert "bad.jpg: not an image" in strict.stderr
    assert strict.stderr.splitlines()[-1].startswith("error: unreadable files: 1;")
    assert "loss" not in strict.stderr, "it trained before it refused"
    assert content(copied) == before
    result = run("add", copied, folder)
    (summary,) = lines(result)
    assert (summary["added"], summary["skipped"], summary["unchanged"]) == (2, 1, 0)
    assert "unreadable files, skipped: 1\n" in result.stderr


def test_duplicates_among_new_images_are_listed(copied: Path, new: New) -> None:
    folder = new("a.png", "b.png")
    shutil.copy(folder / "a.png", folder / "a again.png")
    result = run("add", copied, folder)
    assert "files with the same content as another: 1\n  a again.png = a.png\n" in result.stderr


def test_metadata_of_new_images_can_be_searched(copied: Path, new: New, tmp_path: Path) -> None:
    table = tmp_path / "new.csv"
    table.write_text("file,album\na.png,sea\nnowhere.png,hills\n", "utf-8")
    folder = new("a.png", "b.png")
    result = run("add", copied, folder, "--metadata", table)
    assert "names in the metadata without an image: 1\n  nowhere.png\n" in result.stderr
    found = lines(run("search", copied, folder / "b.png", "--where", 'album = "sea"'))
    assert [line["image_id"] for line in found] == ["a.png"]


def test_wrong_arguments_are_refused_and_change_nothing(
    copied: Path, photos: Path, new: New, tmp_path: Path
) -> None:
    folder, empty, table = new("a.png"), tmp_path / "empty", tmp_path / "odd.csv"
    empty.mkdir()
    table.write_text("colour\nred\n", "utf-8")
    before = content(copied)
    one_error_line(run("add", copied, tmp_path / "none"), 2, "none", "no such file or folder")
    one_error_line(run("add", copied, empty), 2, str(empty), "no images")
    one_error_line(run("add", copied, folder, "--labels", "folder"), 2, "--labels none")
    one_error_line(
        run("add", copied, folder, "--metadata", tmp_path / "none.csv"), 2, "none.csv", "no such file"
    )
    one_error_line(run("add", copied, folder, "--metadata", table), 2, "odd.csv", "colour")
    one_error_line(run("add", copied, folder, "--metadata", folder / "a.png"), 2, "a.png", ".csv")
    assert content(copied) == before
    assert run("add", copied, folder, "--labels", "none").exit_code == 0


def test_new_images_need_classes_if_the_index_has_them(photos: Path, new: New, tmp_path: Path) -> None:
    dsi = tmp_path / "classes.dsi"
    assert index(photos, dsi, "--labels", "folder", "--epochs", 2).exit_code == 0
    flat = new("a.png", folder="flat")
    before = content(dsi)
    one_error_line(run("add", dsi, flat), 2, "a.png", "class folder")
    one_error_line(run("add", dsi, photos, "--labels", "none"), 2, "--labels folder")
    assert content(dsi) == before
    assert lines(run("add", dsi, new("round/a.png", "oval/b.png"), "--labels", "folder"))[0]["added"] == 2
    assert ImageIndex.load(dsi).labels_ == ["round"] * 6 + ["square"] * 6 + ["oval", "round"]


@pytest.mark.parametrize("phase", ["reading", "joint"])
def test_ctrl_c_leaves_the_index_as_it_was(
    copied: Path, new: New, interrupt_at: Callable[..., None], phase: str
) -> None:
    before = content(copied)
    interrupt_at(lambda now, done: now == phase or (phase == "joint" and now == "cooldown"))
    stopped = run("add", copied, new("a.png", "b.png"))
    assert (stopped.exit_code, stopped.stdout) == (130, "")
    assert stopped.stderr.splitlines()[-1] == "stopped"
    assert content(copied) == before
    interrupt_at(lambda now, done: False)
    assert lines(run("add", copied, new("a.png", "b.png")))[0]["added"] == 2


def test_images_can_be_added_without_stored_features(copied: Path, new: New) -> None:
    assert run("compact", copied, "--drop-features").exit_code == 0
    (summary,) = lines(run("add", copied, new("a.png", "b.png")))
    assert (summary["added"], summary["images"]) == (2, COUNT + 2)
