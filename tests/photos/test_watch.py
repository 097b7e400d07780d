from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vitdsi.errors import UsageError
from vitdsi.photos.watch import arriving


def looks(*between: Callable[[], object]) -> Callable[[float], None]:
    """A `sleep` that runs one of these functions at each call, and then ends the watch."""
    steps: Iterator[Callable[[], object]] = iter(between)

    def sleep(_: float) -> None:
        step = next(steps, None)
        if step is None:
            raise KeyboardInterrupt
        step()

    return sleep


def names(folder: Path, *between: Callable[[], object]) -> list[str]:
    found = []
    with pytest.raises(KeyboardInterrupt):
        for path in arriving(folder, sleep=looks(*between)):
            found.append(path.relative_to(folder).as_posix())
    return found


def nothing() -> None:
    pass


def test_photos_that_were_there_before_are_not_yielded(tmp_path: Path) -> None:
    (tmp_path / "old.jpg").write_bytes(b"x")
    assert names(tmp_path, nothing, nothing, nothing) == []


def test_new_photo_is_yielded_once_at_the_second_look_that_finds_it_unchanged(tmp_path: Path) -> None:
    def write() -> None:
        (tmp_path / "album").mkdir()
        (tmp_path / "album" / "new.jpg").write_bytes(b"x")
        (tmp_path / "notes.txt").write_bytes(b"x")
        (tmp_path / ".half.jpg").write_bytes(b"x")

    assert names(tmp_path, write) == []
    (tmp_path / "album" / "new.jpg").unlink()
    (tmp_path / "album").rmdir()
    assert names(tmp_path, write, nothing, nothing, nothing) == ["album/new.jpg"]


def test_photo_that_is_still_written_is_not_yielded(tmp_path: Path) -> None:
    file = tmp_path / "slow.jpg"

    def more() -> None:
        with file.open("ab") as stream:
            stream.write(b"x")

    assert names(tmp_path, file.touch, nothing, nothing) == []
    assert names(tmp_path, more, more, more) == []
    file.unlink()
    assert names(tmp_path, more, more, nothing, nothing, more, nothing) == ["slow.jpg", "slow.jpg"]


def test_photo_that_was_replaced_is_yielded_again(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(b"x")
    assert names(tmp_path, lambda: file.write_bytes(b"xy"), nothing) == ["a.jpg"]
    assert names(tmp_path, file.unlink, nothing, lambda: file.write_bytes(b"xy"), nothing) == ["a.jpg"]


def test_missing_folder_is_refused_at_the_start_and_later(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        next(arriving(tmp_path / "nowhere"))
    folder = tmp_path / "gone"
    folder.mkdir()
    with pytest.raises(UsageError):
        next(arriving(folder, sleep=lambda _: folder.rmdir()))
