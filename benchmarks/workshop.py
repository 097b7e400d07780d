"""A folder with photos and an index, and commands that change it, each in a process of its own.

A process that has imported everything forks a child for each command, so that a command costs no imports.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import importlib
import os
import re
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import vitdsi.files
from vitdsi.cli.main import cli
from vitdsi.collection import storage
from vitdsi.collection.manifest import files_of, read_manifest
from vitdsi.index import ImageIndex
from vitdsi.training import loop

__all__ = ["REMOVED", "Child", "Run", "Workshop", "answers", "leftovers", "request", "started"]

_PHOTOS = {"photos": 24, "added": 3, "later": 3}  # folders
REMOVED = "photos1.png"
_SETTINGS = """
    model.stem=pixels model.paper.image_size=32 model.paper.patch_size=8 model.depth=1 model.embed_dim=32
    ids.scheme=random training.batch_size=24 training.max_epochs=8 training.evaluate_every=4
"""
_START_SECONDS = 120.0
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


@dataclass(frozen=True)
class Run:
    """What became of a command: its exit code, None if it was killed, what it wrote, and when, in seconds."""

    code: int | None
    output: str
    seconds: float
    writing_from: float | None


class Workshop:
    """A folder with photos, an index of them, and what commands do to it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tmp = folder, folder / "tmp"
        self.tmp.mkdir(parents=True)
        self.modules: Path | None = None  # to which commands write what they imported
        rng = np.random.default_rng(0)
        for name, count in _PHOTOS.items():
            (folder / name).mkdir()
            for i in range(count):
                pixels = np.kron(rng.integers(0, 256, (6, 6, 3)), np.ones((6, 6, 1))).astype(np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{name}{i}.png")
        self.base = folder / "base.dsi"
        with self.importing():
            self.complete("index", self.base)
        with self.importing():
            self.complete("add", self.base)
        self.complete("remove", self.base, "photos0.png")
        shutil.rmtree(folder / "added")
        (folder / "later").rename(folder / "added")

    def arguments(self, verb: str, path: Path, *more: str) -> list[str]:
        """Return the command line that does something to the index `path`."""
        photos, added = str(self.folder / "photos"), str(self.folder / "added")
        cache = ["--cache", str(path.parent / "cache")]
        workers = [
            "--workers",
            str(os.cpu_count()),
        ]  # each gets one core, as OpenMP has no threads after a fork
        return {
            "index": [
                "index",
                photos,
                "-o",
                str(path),
                *cache,
                "--device",
                "cpu",
                "--no-keypoints",
                *_SETTINGS.split(),
            ],
            "add": ["add", str(path), added, *cache],
            "remove": ["remove", str(path)],
            "compact": ["compact", str(path), "--no-retrain"],
            "serve": ["serve", str(path), "--writable", "--port", "0", "--device", "cpu", *workers],
        }[verb] + list(more)

    def start(self, arguments: Sequence[str], uid: int | None = None) -> Child:
        """Start a command."""
        if threading.active_count() > 1:
            raise RuntimeError("a process with threads cannot be forked")
        return Child(arguments, self, uid)

    @contextlib.contextmanager
    def importing(self) -> Iterator[None]:
        """Import in this process what commands that end in this block imported."""
        self.modules = self.folder / "modules"
        yield
        for name in self.modules.read_text().splitlines():
            if name not in sys.modules:
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        self.modules = None

    def complete(self, verb: str, path: Path, *more: str) -> Run:
        """Do something to the index `path`, and check that it ends well."""
        run = self.start(self.arguments(verb, path, *more)).wait()
        if run.code != 0:
            raise AssertionError(f"{verb} ends with {run.code}: {run.output}")
        return run


class Child:
    """A command in a process of its own."""

    def __init__(self, arguments: Sequence[str], workshop: Workshop, uid: int | None) -> None:
        self.began = time.monotonic()
        self.writing, here = os.pipe()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        self.pid = os.fork()
        if not self.pid:
            _be_child(arguments, workshop, self.log.fileno(), here, uid)
        os.close(here)
        self.writing_from: float | None = None

    def output(self) -> str:
        """Return what it has written."""
        return os.pread(self.log.fileno(), 1 << 20, 0).decode("utf-8", "replace")

    def kill_after(self, seconds: float, *, of_writing: bool) -> None:
        """Kill it when it has run, or written the index, for this long."""
        if of_writing:
            select.select([self.writing], [], [], _START_SECONDS)
        time.sleep(seconds)
        self.kill()

    def kill(self) -> None:
        """Kill it, whether or not it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Run:
        """Wait for its end."""
        if os.read(self.writing, 1):  # nothing if it ends without writing
            self.writing_from = time.monotonic() - self.began
        _, status = os.waitpid(self.pid, 0)
        seconds = time.monotonic() - self.began
        output = self.output()
        os.close(self.writing)
        self.log.close()
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        return Run(code, output, seconds, self.writing_from)


def _be_child(arguments: Sequence[str], workshop: Workshop, log: int, writing: int, uid: int | None) -> None:
    """Run a command in a forked process, and never return."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        for place in (1, 2):
            os.dup2(log, place)
        if uid is not None:
            os.setgid(uid)
            os.setuid(uid)
        tempfile.tempdir = str(workshop.tmp)
        # Children need no time to start, so what a killed one left is no second old when the next one looks.
        vitdsi.files._SECONDS_TO_LOCK = 0.0
        loop._SAVE_EVERY_SECONDS = 0.0  # and train for a second, in which their state must be stored, too
        write = storage._replace_index

        def writes(*given: Any) -> int:
            os.write(writing, b"w")
            return write(*given)

        storage._replace_index = writes
        cli.main(args=list(arguments), prog_name="vitdsi")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        if workshop.modules is not None:
            workshop.modules.write_text("\n".join(sys.modules))
        os._exit(code)


def answers(path: Path) -> tuple[list[str], list[Any]]:
    """Open an index; return its images, and what a search for each of the first finds."""
    index = ImageIndex.load(path, device="cpu")
    live = index.trie_.live_ids().tolist()
    found = [[(r.image_id, round(r.score, 4)) for r in index.more_like(i, k=3)] for i in live[:3]]
    return [index.image_ids_[i] for i in live], found


def leftovers(root: Path, tmp: Path, path: Path) -> list[str]:
    """Return the names of files beside and in an index that no complete command leaves."""
    left = [file.name for file in root.iterdir() if file.name not in (path.name, "cache")]
    left += [file.name for file in tmp.iterdir() if not file.name.startswith("torch")]
    left += [file.name for file in root.glob("cache/**/*") if file.name.startswith(".")]
    if path.exists():
        named = {file.name for files in files_of(path, read_manifest(path)).values() for file in files}
        left += sorted({file.name for file in path.iterdir()} - named - {"index.json", "lock"})
    return left


def request(port: int, method: str, name: str, body: bytes) -> tuple[int, bytes]:
    """Add or remove an image; return the status and the body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_SECONDS)
    with contextlib.closing(connection):
        place = f"/v1/images?image_id={name}" if body else f"/v1/images/{name}"
        connection.request(method, place, body, {"Content-Type": "image/png"})
        answer = connection.getresponse()
        return answer.status, answer.read()


def started(workshop: Workshop, path: Path) -> tuple[Child, int]:
    """Start a server; return it, and the port that it answers at."""
    child = workshop.start(workshop.arguments("serve", path))
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)", child.output()):
            return child, int(found[1])
        time.sleep(0.02)
    child.kill()
    raise AssertionError(f"the server does not start: {child.wait().output}")
