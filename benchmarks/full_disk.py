"""Commands on a disk that gets full, and in a folder that may not be written.

Each of them must end in one line of an error and leave the index as it was. With room, or permission, the next one
works, and leaves nothing of the first. The disk is a small file system in memory, which only root can mount.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import torch
from fuzzing import Outcome
from workshop import REMOVED, Run, Workshop, answers, leftovers, request, started

from vitdsi.errors import VitdsiError

__all__ = ["fill", "forbid"]

_CHANGES = ("index", "add", "remove", "compact")
_READS = (["info", "{}"], ["list", "{}"], ["search", "{}", "{photo}"], ["facets", "{}"])
_DISK = 64 << 20  # bytes
_NOBODY = 65534


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    """A file system in memory."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=755", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextlib.contextmanager
def _full(disk: Path, room: int) -> Iterator[None]:
    """Leave only this many bytes of room."""
    status = os.statvfs(disk)
    ballast = disk / "ballast"
    with open(ballast, "wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, max(1, status.f_bavail * status.f_frsize - room))
    try:
        yield
    finally:
        ballast.unlink()


def _refused(run: Run) -> None:
    lines = [line for line in run.output.splitlines() if not line.startswith("note: ")]
    if run.code in (0, None) or not lines[-1].startswith("error: ") or "--debug" in run.output:
        raise AssertionError(f"exit code {run.code}, and not one line of an error: {run.output}")


class _Bench:
    """What one verb does to an index on a disk."""

    def __init__(self, workshop: Workshop, disk: Path, verb: str) -> None:
        self.workshop, self.disk, self.verb = workshop, disk, verb
        with self.root() as path:
            self.before = answers(path) if path.exists() else None
            with workshop.importing():
                self.complete(path)
            self.after = answers(path)
            self.bytes = sum(file.stat().st_size for file in path.rglob("*"))

    @contextlib.contextmanager
    def root(self) -> Iterator[Path]:
        """The path of an index, or of a new one, on the disk."""
        with tempfile.TemporaryDirectory(dir=self.disk) as folder:
            os.chmod(folder, 0o755)
            path = Path(folder, "i.dsi")
            if self.verb != "index":
                shutil.copytree(self.workshop.base, path)
            yield path

    def arguments(self, path: Path) -> list[str]:
        """Return the command line."""
        more = [REMOVED] if self.verb == "remove" else []
        return self.workshop.arguments(self.verb, path, *more)

    def complete(self, path: Path) -> None:
        """Run the command, which must succeed."""
        run = self.workshop.start(self.arguments(path)).wait()
        if run.code != 0:
            raise AssertionError(f"exit code {run.code}: {run.output}")

    def check(self, path: Path) -> None:
        """Check that the index is as it was, that the command works now, and that nothing of the first one is left."""
        if (answers(path) if path.exists() else None) != self.before:
            raise AssertionError("the index is not as it was")
        self.complete(path)
        if answers(path) != self.after:
            raise AssertionError("the next command gives other answers")
        if left := leftovers(path.parent, self.workshop.tmp, path):
            raise AssertionError(f"left: {left}")

    def moment(self, case: int) -> str:
        """Run the command with too little room; return whether there was enough in the end."""
        room = round(random.Random(f"{self.verb} {case}").random() * 1.2 * self.bytes)
        with self.root() as path:
            with _full(self.disk, room):
                run = self.workshop.start(self.arguments(path)).wait()
            if run.code == 0:
                if answers(path) != self.after:
                    raise AssertionError("other answers")
                return "enough room"
            _refused(run)
            self.check(path)
        return "refused"


def _serve_on_full_disk(workshop: Workshop, disk: Path, case: int) -> str:
    """A server whose disk gets full refuses changes, still answers, and makes the change when there is room."""
    body = next((workshop.folder / "photos").glob("*.png")).read_bytes()
    with tempfile.TemporaryDirectory(dir=disk) as folder:
        path = Path(shutil.copytree(workshop.base, Path(folder, "i.dsi")))
        before = answers(path)[0]
        child, port = started(workshop, path)
        try:
            with _full(disk, round(random.Random(f"serve {case}").random() * 60_000)):
                status, text = request(port, "POST", "new.png", body)
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/images") as answer:
                    total = json.load(answer)["total"]
            if status != 200:
                message = json.loads(text)["error"]
                if total != len(before) or "\n" in message or "make room" not in message:
                    raise AssertionError(f"{status} {message}, and {total} images")
                if request(port, "POST", "new.png", body)[0] != 200:
                    raise AssertionError("no image can be added when there is room again")
        finally:
            os.kill(child.pid, signal.SIGTERM)
            child.wait()
        if answers(path)[0] != [*before, "new.png"]:
            raise AssertionError("the image is not there")
        if left := leftovers(Path(folder), workshop.tmp, path):
            raise AssertionError(f"left: {left}")
    return "enough room" if status == 200 else "refused"


def fill(cases: range) -> Iterator[Outcome]:
    """Run each verb once for each case, with a random room on the disk."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, _disk(Path(folder, "disk")) as disk:
        workshop = Workshop(Path(folder, "disk", "workshop"))
        for verb in _CHANGES:
            bench = _Bench(workshop, disk, verb)
            for case in cases:
                yield _outcome(case, f"full disk: {verb}", lambda case=case, bench=bench: bench.moment(case))
        for case in cases:
            yield _outcome(
                case, "full disk: serve", lambda case=case: _serve_on_full_disk(workshop, disk, case)
            )


def forbid() -> Iterator[Outcome]:
    """Run each verb in a read-only file system, and as a user who may not write."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, _disk(Path(folder, "disk")) as disk:
        os.chmod(folder, 0o755)
        workshop = Workshop(Path(folder, "workshop"))
        os.chmod(workshop.tmp, 0o777)
        for verb in _CHANGES:
            bench = _Bench(workshop, disk, verb)
            for number, uid in enumerate((None, _NOBODY)):
                kind = f"{'read-only disk' if uid is None else 'other user'}: {verb}"
                yield _outcome(number, kind, lambda bench=bench, uid=uid: _forbidden(bench, uid))


def _forbidden(bench: _Bench, uid: int | None) -> str:
    with bench.root() as path:
        if uid is None:
            subprocess.run(["mount", "-o", "remount,ro", bench.disk], check=True)
        try:
            run = bench.workshop.start(bench.arguments(path), uid).wait()
            photo = next((bench.workshop.folder / "photos").glob("*.png"))
            for words in _READS if path.exists() else ():
                arguments = [word.format(path, photo=photo) for word in words]
                if (read := bench.workshop.start(arguments, uid).wait()).code != 0:
                    raise AssertionError(f"{arguments[0]} does not read: {read.output}")
        finally:
            if uid is None:
                subprocess.run(["mount", "-o", "remount,rw", bench.disk], check=True)
        _refused(run)
        bench.check(path)
    return "refused"


def _outcome(case: int, kind: str, run: object) -> Outcome:
    try:
        return Outcome(case, kind, run())  # type: ignore[operator]
    except (AssertionError, OSError, VitdsiError, subprocess.CalledProcessError) as error:
        return Outcome(case, kind, "failed", str(error))
