from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers_cli import content, index, lines, one_error_line, run
from PIL import Image

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


def test_best_copy_of_each_group_is_named_with_its_reason(copies: Path) -> None:
    first, mirrored, small = lines(run("duplicates", copies, "--keep", "best"))
    assert (first["keep"], first["reason"]) == (
        "2 again.png",
        "nothing sets it apart; it is the first",
    )
    assert small["keep"] == "1.png"
    assert small["reason"].startswith("least compressed: ")
    assert mirrored["keep"] in mirrored["image_ids"]
    shown = run("duplicates", copies, "--keep", "best", "--plain").stdout
    assert "  2 again.png  (keep: nothing sets it apart; it is the first)\n  2 and again.png\n" in shown


# ---- decisions


def test_decisions_stick_in_the_index_until_they_are_forgotten(copies: Path, tmp_path: Path) -> None:
    dsi = shutil.copytree(copies, tmp_path / "copied.dsi")
    result = run(
        "duplicates", dsi, "--keep-both", "0.png", "0 mirrored.png", "--keep-both", "1.png", "1 small.jpg"
    )
    assert lines(result) == [{"index": str(dsi), "decisions": 2}]
    assert [line["image_ids"][0] for line in lines(run("duplicates", dsi))] == ["2 again.png"]
    assert run("remove", dsi, "5.png").exit_code == 0
    assert len(lines(run("duplicates", dsi))) == 1
    run("duplicates", dsi, "--decide-again", "0.png", "0 mirrored.png")
    assert len(lines(run("duplicates", dsi))) == 2


def test_decisions_stick_when_the_index_is_built_again(copies: Path, tmp_path: Path) -> None:
    dsi = shutil.copytree(copies, tmp_path / "copied.dsi")
    run("duplicates", dsi, "--keep-both", "0.png", "0 mirrored.png")
    assert index(copies.parent / "photos", dsi, "--epochs", 2, "--force").exit_code == 0
    assert "0.png" not in [name for line in lines(run("duplicates", dsi)) for name in line["image_ids"]]


def test_decision_about_an_unknown_image_is_an_error(copies: Path) -> None:
    result = run("duplicates", copies, "--keep-both", "0.png", "nowhere.png")
    one_error_line(result, 2, "'nowhere.png' is not in the index")


# ---- moving


@pytest.fixture
def folder(copies: Path, tmp_path: Path) -> Path:
    """A copy of the photos of `copies`, from which a test may move some."""
    return shutil.copytree(copies.parent / "photos", tmp_path / "photos")


def test_move_is_a_dry_run_unless_applied_and_can_be_undone(copies: Path, folder: Path) -> None:
    before, spare = content(folder), folder.parent / "spare"
    command = ["duplicates", copies, "--keep", "best", "--images", folder, "--move-to", spare]
    planned = run(*command)
    assert content(folder) == before and not spare.exists()
    assert planned.stderr == "photos that would move: 4; --apply moves them\n"
    done = run(*command, "--apply")
    assert done.stdout == planned.stdout
    moved = {line["image_id"] for line in lines(done)}
    assert {"1 small.jpg", "2 and again.png", "2.png"} < moved and len(moved) == 4
    assert set(content(folder)) == set(before) - moved
    listed = done.stderr.split("--undo ")[1].strip()
    undone = run("duplicates", copies, "--undo", listed)
    assert (undone.exit_code, undone.stderr) == (0, "photos moved back: 4\n")
    assert content(folder) == before


def test_changed_photos_stay_and_so_do_the_copies_of_a_missing_one(copies: Path, folder: Path) -> None:
    (folder / "2 again.png").unlink()
    (folder / "1 small.jpg").write_bytes(b"changed")
    command = ["duplicates", copies, "--keep", "best", "--images", folder, "--move-to", folder.parent / "x"]
    result = run(*command)
    assert [line["kept"][0] for line in lines(result)] == ["0"]
    assert "the copies of 2 again.png: it is not a file, so they all stay" in result.stderr
    assert "1 small.jpg: it has changed since it was indexed" in result.stderr


def test_options_that_need_others_say_so(copies: Path, folder: Path) -> None:
    one_error_line(run("duplicates", copies, "--apply"), 2, "--apply does what --move-to DIR says")
    one_error_line(run("duplicates", copies, "--move-to", "x"), 2, "needs --keep best and --images DIR")
    inside = run("duplicates", copies, "--keep", "best", "--images", folder, "--move-to", folder / "x")
    one_error_line(inside, 2, "is inside")
    one_error_line(run("duplicates", copies, "--against", folder / "x"), 2, "no such folder")
    one_error_line(
        run("duplicates", copies, "--against", folder, "--keep", "best"), 2, "--keep chooses within"
    )


# ---- against


def test_new_folder_is_compared_with_the_index(copies: Path, folder: Path, new: New) -> None:
    card = new("new.png", folder="card", seed=50)
    shutil.copy(folder / "5.png", card / "same.png")
    with Image.open(folder / "6.png") as image:
        image.transpose(Image.Transpose.ROTATE_90).save(card / "turned.jpg", quality=90)
    (card / "bad.png").write_bytes(b"no image")
    result = run("duplicates", copies, "--against", card)
    assert result.exit_code == 1
    assert lines(result) == [
        {"file": f"{card}/new.png", "image_ids": [], "same_bytes": 0},
        {"file": f"{card}/same.png", "image_ids": ["5.png"], "same_bytes": 1},
        {"file": f"{card}/turned.jpg", "image_ids": ["6.png"], "same_bytes": 0},
    ]
    assert "unreadable files, skipped: 1" in result.stderr
    assert result.stderr.endswith("photos: 3; held by the index already: 2; new: 1\n")
    (card / "bad.png").unlink()
    shown = run("duplicates", copies, "--against", card, "--plain").stdout
    assert shown.splitlines()[:4] == [f"{card}/new.png", "  (new)", f"{card}/same.png", "  5.png"]


def test_photos_that_the_index_holds_are_moved_out_of_the_new_folder(
    copies: Path, folder: Path, new: New
) -> None:
    card = new("new.png", folder="card", seed=50)
    (card / "day 1").mkdir()
    shutil.copy(folder / "5.png", card / "day 1" / "same.png")
    shutil.copy(folder / "6.png", card / "six.png")
    (folder / "6.png").unlink()
    spare = folder.parent / "spare"
    command = ["duplicates", copies, "--against", card, "--images", folder, "--move-to", spare, "--apply"]
    result = run(*command)
    assert [(line["image_id"], line["kept"]) for line in lines(result)] == [("day 1/same.png", "5.png")]
    assert f"not moved: {card}/six.png: {folder / '6.png'} is missing" in result.stderr
    assert sorted(path.name for path in card.rglob("*.png")) == ["new.png", "six.png"]
    assert (spare / "day 1" / "same.png").read_bytes() == (folder / "5.png").read_bytes()
