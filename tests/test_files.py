"""Atomic replacement: the old content or the new, whatever fails in between."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vitdsi import files
from vitdsi.files import (
    delete_folder,
    move_file,
    recover_folder,
    replace_folder,
    sync,
    temporary_folder,
    umask,
    write_atomically,
)


def tree(folder: Path) -> dict[str, bytes]:
    """The content of every file below a folder, hidden ones included."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def fail(*_: object) -> None:
    raise OSError(28, "No space left on device")


# ---- write_atomically


def test_write_atomically_creates_and_replaces_a_file(tmp_path: Path) -> None:
    for content in (b"first", b"second, longer"):
        with write_atomically(tmp_path / "x") as stream:
            stream.write(content[:3])
            stream.write(content[3:])
        assert tree(tmp_path) == {"x": content}


def test_write_atomically_keeps_the_old_content_until_the_block_ends(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with write_atomically(tmp_path / "x") as stream:
        stream.write(b"new")
        stream.flush()
        assert (tmp_path / "x").read_bytes() == b"old"
    assert (tmp_path / "x").read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_write_atomically_leaves_everything_as_it_was_if_the_block_raises(
    tmp_path: Path, error: type[BaseException]
) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with pytest.raises(error), write_atomically(tmp_path / "x") as stream:
        stream.write(b"new")
        raise error
    assert tree(tmp_path) == {"x": b"old"}


@pytest.mark.parametrize("name", ["fsync", "chmod", "replace"])
def test_write_atomically_leaves_everything_as_it_was_if_the_system_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "x").write_bytes(b"old")
    monkeypatch.setattr(os, name, fail)
    with pytest.raises(OSError, match="No space left"), write_atomically(tmp_path / "x") as stream:
        stream.write(b"new")
    assert tree(tmp_path) == {"x": b"old"}


def test_write_atomically_into_a_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), write_atomically(tmp_path / "nowhere" / "x"):
        pytest.fail("there is no stream to write to")


def test_write_atomically_syncs_the_content_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def recording_fsync(descriptor: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def recording_replace(source: str, target: Path) -> None:
        done.append("rename")
        assert Path(source).read_bytes() == b"new"
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(os, "replace", recording_replace)
    with write_atomically(tmp_path / "x") as stream:
        stream.write(b"new")
    expected = ["file", "rename", "folder"] if Path("/proc/self/fd").is_dir() else ["file", "rename", "file"]
    assert done == expected


# ---- permissions


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_new_files_and_folders_have_the_permissions_of_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        assert umask() == mask
        with write_atomically(tmp_path / "x"):
            pass
        with replace_folder(tmp_path / "folder"):
            pass
        assert umask() == mask, "asking for the mask must not change it"
    finally:
        os.umask(before)
    assert mode(tmp_path / "x") == 0o666 & ~mask
    assert mode(tmp_path / "folder") == 0o777 & ~mask


# ---- replace_folder


def test_replace_folder_creates_the_folder_and_its_parents(tmp_path: Path) -> None:
    with replace_folder(tmp_path / "a" / "b") as new:
        assert tree(new) == {}
        write(new, "x", "sub/y")
    assert tree(tmp_path) == {"a/b/x": b"x", "a/b/sub/y": b"sub/y"}


def test_replace_folder_takes_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with replace_folder(Path("a")) as new:
        write(new, "x")
    assert tree(tmp_path) == {"a/x": b"x"}


def test_replace_folder_removes_the_old_content_when_the_block_ends(tmp_path: Path) -> None:
    write(tmp_path / "a", "old", "both")
    with replace_folder(tmp_path / "a") as new:
        write(new, "new", "both")
        assert set(tree(tmp_path / "a")) == {"old", "both"}
    assert set(tree(tmp_path)) == {"a/new", "a/both"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_replace_folder_leaves_everything_as_it_was_if_the_block_raises(
    tmp_path: Path, error: type[BaseException]
) -> None:
    write(tmp_path / "a", "old")
    with pytest.raises(error), replace_folder(tmp_path / "a") as new:
        write(new, "new")
        raise error
    assert tree(tmp_path) == {"a/old": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_replace_folder_leaves_everything_as_it_was_if_syncing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a", "old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"), replace_folder(tmp_path / "a") as new:
        write(new, "new")
    assert tree(tmp_path) == {"a/old": b"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_replace_folder_syncs_every_file_and_subfolder_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    rename = os.rename

    def recording_rename(source: Path, target: Path) -> None:
        done.append("rename")
        rename(source, target)

    monkeypatch.setattr(files, "sync", lambda path: done.append(path.name))
    monkeypatch.setattr(os, "rename", recording_rename)
    with replace_folder(tmp_path / "a") as new:
        write(new, "x", "sub/y")
    before, after = done[: done.index("rename")], done[done.index("rename") + 1 :]
    assert {"x", "sub", "y"} < set(before) and before[-1].startswith(".a.new-")
    assert after == [tmp_path.name]


# ---- recover_folder


def kill_between_the_renames(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what a process leaves that is killed when the old folder is aside and the new one not yet in place."""
    rename = os.rename

    def first_only(source: Path, target: Path) -> None:
        if Path(target) == path:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", first_only)
        with pytest.raises(KeyboardInterrupt), replace_folder(path) as new:
            write(new, "new")
    assert not path.exists()


def test_recover_folder_restores_the_old_folder_after_a_kill_between_the_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a", "old")
    kill_between_the_renames(tmp_path / "a", monkeypatch)
    recover_folder(tmp_path / "a")
    assert tree(tmp_path / "a") == {"old": b"old"}


def test_replace_folder_works_after_a_kill_between_the_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a", "old")
    kill_between_the_renames(tmp_path / "a", monkeypatch)
    with replace_folder(tmp_path / "a") as new:
        assert tree(tmp_path / "a") == {"old": b"old"}
        write(new, "newer")
    assert tree(tmp_path / "a") == {"newer": b"newer"}


def test_recover_folder_deletes_old_content_if_the_new_one_is_in_place(tmp_path: Path) -> None:
    write(tmp_path / "a", "new")
    write(tmp_path / ".a.old", "old")
    recover_folder(tmp_path / "a")
    assert tree(tmp_path) == {"a/new": b"new"}


@pytest.mark.parametrize("names", [(), ("a/x",)])
def test_recover_folder_without_an_interrupted_replacement_changes_nothing(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    write(tmp_path, *names)
    before = tree(tmp_path)
    recover_folder(tmp_path / "a")
    assert tree(tmp_path) == before


def test_sync_of_a_missing_file_raises(tmp_path: Path) -> None:
    sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "x")


# ---- move_file


@pytest.mark.parametrize("links", [True, False])
def test_move_file_keeps_content_and_time_with_and_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("no links here")

    write(tmp_path, "a")
    os.utime(tmp_path / "a", ns=(10**18, 10**18))
    if not links:
        monkeypatch.setattr(os, "link", refused)
    move_file(tmp_path / "a", tmp_path / "new" / "b")
    assert tree(tmp_path) == {"new/b": b"a"}
    assert (tmp_path / "new" / "b").stat().st_mtime_ns == 10**18


@pytest.mark.parametrize("links", [True, False])
def test_move_file_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("no links here")

    write(tmp_path, "a", "b")
    if not links:
        monkeypatch.setattr(os, "link", refused)
    with pytest.raises(FileExistsError):
        move_file(tmp_path / "a", tmp_path / "b")
    assert tree(tmp_path) == {"a": b"a", "b": b"b"}


def test_move_file_leaves_no_half_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("no space or links left")

    write(tmp_path, "a")
    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(files.shutil, "copyfileobj", refused)
    with pytest.raises(OSError, match="no space"):
        move_file(tmp_path / "a", tmp_path / "b")
    assert tree(tmp_path) == {"a": b"a"}


# ---- what killed processes leave


def abandon(path: Path, seconds: float = 5) -> Path:
    """Something that was begun to be written as `path` some seconds ago."""
    new = path.with_name(f".{path.name}.new-abc")
    write(new, "half") if path.suffix != ".txt" else new.write_text("half")
    os.utime(new, times=(time.time() - seconds,) * 2)
    return new


def test_new_content_of_a_killed_process_is_deleted_by_the_next_one(tmp_path: Path) -> None:
    folder, file, other = (abandon(tmp_path / name) for name in ("[a]", "b.txt", "c"))
    with replace_folder(tmp_path / "[a]"), write_atomically(tmp_path / "b.txt"):
        pass
    assert (folder.exists(), file.exists(), other.exists()) == (False, False, True)


def test_new_content_of_a_process_that_still_runs_is_left_alone(tmp_path: Path) -> None:
    with replace_folder(tmp_path / "a") as folder, write_atomically(tmp_path / "b.txt"):
        files = list(tmp_path.iterdir())
        for new in files:
            os.utime(new, times=(0, 0))
        recover_folder(tmp_path / "a")
        recover_folder(tmp_path / "b.txt")
        assert sorted(tmp_path.iterdir()) == sorted(files) and folder in files
    assert sorted(tree(tmp_path)) == ["b.txt"] and (tmp_path / "a").is_dir()


def test_new_content_that_may_not_be_locked_yet_is_left_alone(tmp_path: Path) -> None:
    new = abandon(tmp_path / "a", seconds=0)
    recover_folder(tmp_path / "a")
    assert new.exists()


def test_deleted_folder_is_there_as_a_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a", "x")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", fail)
        with pytest.raises(OSError, match="No space"):
            delete_folder(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    delete_folder(tmp_path / "a")
    for left in tmp_path.iterdir():
        os.utime(left, times=(0, 0))
    recover_folder(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_temporary_folder_is_private_and_those_of_killed_processes_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    abandon(tmp_path / "vitdsi")
    (tmp_path / ".vitdsi.new-link").symlink_to(tmp_path.parent)
    os.mkfifo(tmp_path / ".vitdsi.new-pipe")
    with temporary_folder() as folder:
        assert mode(folder) == 0o700
        write(folder, "x")
    assert tmp_path.is_dir() and not folder.exists() and not (tmp_path / ".vitdsi.new-abc").exists()
