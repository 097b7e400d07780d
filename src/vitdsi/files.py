"""Atomic replacement of files and folders: readers see the old content or the new one, never a mixture.

New content is written beside the old, synced to disk and then renamed into place. All files that users keep are
replaced through this module.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from vitdsi.errors import VitdsiError

__all__ = [
    "delete_folder",
    "move_file",
    "recover_folder",
    "replace_folder",
    "sync",
    "temporary_folder",
    "umask",
    "unwritable",
    "write_atomically",
]

_SECONDS_TO_LOCK = 1.0  # that a process may take between making a file and locking it


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary stream whose content replaces the file `path` when the block ends.

    The content reaches the disk before the file is renamed into place. If the block raises an error, `path` is left
    as it was and nothing is left beside it. If the process is killed, the next one that writes `path` deletes what is
    left. The folder of `path` must exist.

    Raises:
        OSError: if the file cannot be written.
    """
    _delete_abandoned(path)
    descriptor, name = tempfile.mkstemp(prefix=_beginning(path), dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            _lock(descriptor)
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
    is killed between the two renames, `recover_folder` restores the old folder; if it is killed earlier, that deletes
    the new one. If the block raises an error, `path` is left as it was and the new folder is deleted. Missing parents
    of `path` are created.

    Raises:
        OSError: if the folder cannot be written.
    """
    path = path.absolute()
    recover_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = _new_folder(path)
    descriptor = os.open(new, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield new
        for entry in (*new.rglob("*"), new):
            sync(entry)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)
    old = _old_folder(path)
    if path.exists():
        os.rename(path, old)
    os.rename(new, path)
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Restore the folder `path`, and delete what is beside it, after `replace_folder` or `delete_folder` was killed.

    What other processes are still writing is left alone.
    """
    old = _old_folder(path)
    if old.exists():
        if path.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, path)
    _delete_abandoned(path)


def delete_folder(path: Path) -> None:
    """Delete a folder, if there is one. If the process is killed, there is either all of it at `path` or nothing.

    Raises:
        OSError: if it cannot be deleted.
    """
    if path.exists():
        os.replace(path, new := _new_folder(path))
        shutil.rmtree(new)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder, which only this user can enter, for the time of this block.

    It is where the system wants temporary files. What killed processes left there is deleted.

    Raises:
        OSError: if it cannot be made.
    """
    path = Path(tempfile.gettempdir(), "vitdsi")
    _delete_abandoned(path)
    new = Path(tempfile.mkdtemp(prefix=_beginning(path), dir=path.parent))
    descriptor = os.open(new, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield new
    finally:
        shutil.rmtree(new, ignore_errors=True)
        os.close(descriptor)


def _new_folder(path: Path) -> Path:
    new = Path(tempfile.mkdtemp(prefix=_beginning(path), dir=path.parent))
    os.chmod(new, 0o777 & ~umask())  # mkdtemp makes folders that only their owner can enter
    return new


def _beginning(path: Path) -> str:
    """Return what the name of a file or a folder begins with that will be at `path`."""
    return f".{path.name}.new-"


def _delete_abandoned(path: Path) -> None:
    """Delete new files and folders that would have been at `path`, and whose processes were killed."""
    for new in path.parent.glob(f"{glob.escape(_beginning(path))}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(new, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # it may be anything
            try:
                age = time.time() - os.fstat(descriptor).st_mtime
                if age > _SECONDS_TO_LOCK and _lock(descriptor):
                    shutil.rmtree(new) if new.is_dir() else new.unlink()
            finally:
                os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock a file or a folder for as long as it is open; return whether that is possible, and nobody else has it."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # not on Windows, nor in each file system
        return False
    return True


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


def unwritable(path: Path, error: Exception) -> VitdsiError:
    """Return the error that says that a folder cannot be written, why, and what to do."""
    return VitdsiError(
        f"{path} cannot be written ({error}); make room on the disk, or allow to write there, and try again"
    )
