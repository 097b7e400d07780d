"""Atomic replacement of files and folders: readers see the old content or the new one, never a mixture.

New content is written beside the old, synced to disk and then renamed into place. All files that users keep are
replaced through this module.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["move_file", "recover_folder", "replace_folder", "sync", "umask", "write_atomically"]


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary stream whose content replaces the file `path` when the block ends.

    The content reaches the disk before the file is renamed into place. If the block raises an error, `path` is left
    as it was and nothing is left beside it. The folder of `path` must exist.

    Raises:
        OSError: if the file cannot be written.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o666 & ~umask())  # mkstemp makes files that only their owner can read
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextlib.contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Create an empty folder that replaces the folder `path` when the block ends.

    The old folder is moved aside, the new one is renamed into place, and then the old one is deleted. If the process
    is killed between the two renames, `recover_folder` restores the old folder. If the block raises an error, `path`
    is left as it was and the new folder is deleted. Missing parents of `path` are created.

    Raises:
        OSError: if the folder cannot be written.
    """
    path = path.absolute()
    recover_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{path.name}.new-", dir=path.parent))
    os.chmod(new, 0o777 & ~umask())  # mkdtemp makes folders that only their owner can enter
    try:
        yield new
        for entry in (*new.rglob("*"), new):
            sync(entry)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    old = _old_folder(path)
    if path.exists():
        os.rename(path, old)
    os.rename(new, path)
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Restore the folder `path`, or delete its old content, after `replace_folder` was interrupted."""
    old = _old_folder(path)
    if old.exists():
        if path.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, path)


def _old_folder(path: Path) -> Path:
    """Return where the old content of a folder waits until the new content is in place."""
    return path.with_name(f".{path.name}.old")


def sync(path: Path) -> None:
    """Wait until the content of a file, or the list of names in a folder, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def umask() -> int:
    """Return the permission bits that new files of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def move_file(source: Path, target: Path) -> None:
    """Move a file to where nothing is yet, also to another file system. Missing folders are created.

    At every moment the file is complete at one of the two places, or at both.

    Raises:
        FileExistsError: something is at `target`.
        OSError: the file cannot be moved.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)  # unlike a rename, it fails if the target exists
    except FileExistsError:
        raise
    except OSError:  # another file system, or one without hard links
        _copy_file(source, target)
    sync(target.parent)
    source.unlink()


def _copy_file(source: Path, target: Path) -> None:
    """Copy a file with its times to where nothing is yet."""
    with open(source, "rb") as stream, open(target, "xb") as copy:
        try:
            shutil.copyfileobj(stream, copy)
            copy.flush()
            os.fsync(copy.fileno())
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    shutil.copystat(source, target)
