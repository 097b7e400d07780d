from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitdsi.cli import moving
from vitdsi.cli.moving import Move, apply, check_target, obstacle, undo
from vitdsi.errors import UsageError
from vitdsi.photos.decode import content_hash


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "a").mkdir(parents=True)
    for name in ("a/1.jpg", "2.jpg", "3.jpg"):
        (folder / name).write_text(name)
    return folder


def moves(folder: Path, target: Path, *names: str) -> list[Move]:
    return [Move(name, folder / name, target / name, "3.jpg", "most pixels") for name in names]


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_moved_photos_can_be_moved_back(folder: Path) -> None:
    target = folder.parent / "spare"
    listed, moved = apply(moves(folder, target, "a/1.jpg", "2.jpg"), target)
    assert moved == 2
    assert names(folder) == ["3.jpg"]
    assert names(target) == ["2.jpg", "a/1.jpg", listed.name]
    assert [json.loads(line)["image_id"] for line in listed.read_text().splitlines()] == ["a/1.jpg", "2.jpg"]
    assert undo(listed) == (2, 0)
    assert names(folder) == ["2.jpg", "3.jpg", "a/1.jpg"]
    assert (folder / "a" / "1.jpg").read_text() == "a/1.jpg"
    assert undo(listed) == (0, 0)  # nothing is left to do


def test_nothing_is_overwritten_on_the_way_there_or_back(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = folder.parent / "spare"
    target.mkdir()
    (target / "2.jpg").write_text("mine")
    listed, moved = apply(moves(folder, target, "a/1.jpg", "2.jpg"), target)
    assert moved == 1
    assert (target / "2.jpg").read_text() == "mine" and (folder / "2.jpg").read_text() == "2.jpg"
    (folder / "a" / "1.jpg").write_text("new")
    assert undo(listed) == (0, 1)
    assert (folder / "a" / "1.jpg").read_text() == "new" and (target / "a" / "1.jpg").exists()
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("2.jpg exists") and second.endswith("1.jpg exists")


def test_each_move_is_listed_before_it_is_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = folder.parent / "spare"
    move = moving.move_file

    def killed(source: Path, to: Path) -> None:
        move(source, to)
        raise KeyboardInterrupt

    monkeypatch.setattr(moving, "move_file", killed)
    with pytest.raises(KeyboardInterrupt):
        apply(moves(folder, target, "a/1.jpg", "2.jpg"), target)
    monkeypatch.undo()
    (listed,) = target.glob("*.jsonl")
    assert undo(listed) == (1, 0)
    assert names(folder) == ["2.jpg", "3.jpg", "a/1.jpg"]


def test_second_list_does_not_replace_the_first(folder: Path) -> None:
    target = folder.parent / "spare"
    first, _ = apply(moves(folder, target, "2.jpg"), target)
    second, _ = apply(moves(folder, target, "3.jpg"), target)
    assert first != second
    assert undo(second) == (1, 0)
    assert undo(first) == (1, 0)


def test_missing_photo_is_reported_when_it_is_moved_back(folder: Path) -> None:
    target = folder.parent / "spare"
    listed, _ = apply(moves(folder, target, "2.jpg"), target)
    (target / "2.jpg").unlink()
    assert undo(listed) == (0, 1)


def test_file_that_is_no_list_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"3\.jpg, line 1: not a move"):
        undo(folder / "3.jpg")
    with pytest.raises(UsageError, match="cannot be read"):
        undo(folder / "nothing.jsonl")


def test_obstacles_are_named(folder: Path) -> None:
    photo = folder / "2.jpg"
    content = content_hash(photo)
    (folder / "link.jpg").symlink_to(photo)
    (folder / "same.jpg").hardlink_to(photo)
    outside = folder.parent / "outside.jpg"
    outside.write_text("x")
    assert obstacle(photo, folder, content) is None
    assert obstacle(photo, folder) is None
    assert obstacle(photo, folder, "another") == "it has changed since it was indexed"
    assert obstacle(folder / "link.jpg", folder) == "it is not a file"
    assert obstacle(folder / "gone.jpg", folder) == "it is not a file"
    assert obstacle(folder / ".." / "outside.jpg", folder) == f"it is outside {folder}"
    assert obstacle(folder / "same.jpg", folder, kept=photo) == "it is the same file as the one that is kept"


def test_target_inside_the_folder_or_a_file_is_refused(folder: Path) -> None:
    check_target(folder.parent / "spare", folder)
    with pytest.raises(UsageError, match="is inside"):
        check_target(folder / "spare", folder)
    with pytest.raises(UsageError, match="not a folder"):
        check_target(folder / "2.jpg", folder)
    with pytest.raises(UsageError, match="no such folder"):
        check_target(folder, folder.parent / "nowhere")
