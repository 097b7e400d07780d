"""Commands that are killed at random moments: what the index is then, what the next command does, and what is left.

A command is killed by SIGKILL after a random part of the time that it took before: of all of it, or, each second time,
of the time from which it writes the index.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from fuzzing import Outcome
from workshop import REMOVED, Run, Workshop, answers, leftovers, request, started

from vitdsi.errors import VitdsiError

__all__ = ["VERBS", "kill"]

VERBS = ("index", "add", "remove", "compact", "serve")


class Kills:
    """Kills one verb at many moments, and checks what each of them leaves."""

    def __init__(self, workshop: Workshop, verb: str) -> None:
        self.workshop, self.verb = workshop, verb
        self.before: tuple[list[str], list[Any]] | None = None
        with self.root() as (_, path), workshop.importing():
            if path.exists():
                self.before = answers(path)
            self._next(path)
            self.after = answers(path)
        with self.root() as (_, path):
            run = self._next(path)
            if answers(path) != self.after:
                raise AssertionError(f"{verb} gives other answers when it is done again")
        self.seconds = run.seconds
        self.writing = run.seconds - (run.writing_from or 0)

    @contextlib.contextmanager
    def root(self) -> Iterator[tuple[Path, Path]]:
        """A folder with a copy of the index, unless the verb makes one."""
        with tempfile.TemporaryDirectory(dir=self.workshop.folder) as folder:
            path = Path(folder) / "i.dsi"
            if self.verb != "index":
                shutil.copytree(self.workshop.base, path)
            yield Path(folder), path

    def _next(self, path: Path) -> Run:
        """Run the command that comes next to its end: the same one, as its messages say that it can be repeated."""
        more = [REMOVED] if self.verb == "remove" else []
        if self.verb == "index" and path.with_name(f"{path.name}.training").exists():
            more = ["--resume"]
        elif self.verb == "index" and path.exists():
            more = ["--force"]
        return self.workshop.complete(self.verb, path, *more)

    def moment(self, case: int) -> tuple[str, str]:
        """Kill the verb once; return what it was doing, and how the index was then."""
        rng = random.Random(f"{self.verb} {case}")
        of_writing = case % 2 == 1
        seconds = rng.random() * (self.writing if of_writing else self.seconds)
        while True:
            with self.root() as (root, path):
                run = self._killed(path, seconds, of_writing=of_writing)
                if run.code is None:
                    return self._check(root, path, run)
            seconds /= 2  # it had ended before

    def _killed(self, path: Path, seconds: float, *, of_writing: bool) -> Run:
        more = [REMOVED] if self.verb == "remove" else []
        child = self.workshop.start(self.workshop.arguments(self.verb, path, *more))
        child.kill_after(seconds, of_writing=of_writing)
        return child.wait()

    def _check(self, root: Path, path: Path, run: Run) -> tuple[str, str]:
        found = answers(path) if path.exists() else None
        if found not in (self.before, self.after):
            raise AssertionError(f"neither as before nor as after: {found}")
        resumable = path.with_name(f"{path.name}.training").exists()
        if self.verb == "remove" and found == self.after:
            self.workshop.complete("add", path)  # what is removed cannot be removed again
        else:
            self._next(path)
            if answers(path) != self.after:
                raise AssertionError("the next command gives other answers")
        if left := leftovers(root, self.workshop.tmp, path):
            raise AssertionError(f"left: {left}")
        where = "while writing" if run.writing_from else "before writing"
        return where, "after" if found == self.after else "resumed" if resumable else "before"


class ServerKills:
    """Kills a server that adds and removes images, and checks that no change that it acknowledged is lost."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.bodies = [file.read_bytes() for file in sorted((workshop.folder / "photos").glob("*.png"))]
        with workshop.importing(), tempfile.TemporaryDirectory(dir=workshop.folder) as folder:
            child, port = started(workshop, Path(shutil.copytree(workshop.base, Path(folder, "i.dsi"))))
            request(port, "POST", "first.png", self.bodies[0])
            began = time.monotonic()
            request(port, "POST", "second.png", self.bodies[0])
            self.seconds = 4 * (time.monotonic() - began)  # in which about four changes are made
            os.kill(child.pid, signal.SIGTERM)
            child.wait()

    def moment(self, case: int) -> tuple[str, str]:
        """Kill the server once, while clients change the index."""
        rng = random.Random(f"serve {case}")
        with tempfile.TemporaryDirectory(dir=self.workshop.folder) as folder:
            path = Path(shutil.copytree(self.workshop.base, Path(folder, "i.dsi")))
            names = answers(path)[0]
            child, port = started(self.workshop, path)
            killer = os.fork()
            if not killer:
                time.sleep(self.seconds * rng.random())
                child.kill()
                os._exit(0)
            before, after, done = self._change(port, names, rng)
            os.waitpid(killer, 0)
            child.wait()
            found = answers(path)[0]
            if found not in (before, after):
                raise AssertionError(f"{found}, where {before} or {after} is acknowledged")
            child, port = started(self.workshop, path)
            if request(port, "POST", "last.png", self.bodies[0])[0] != 200:
                raise AssertionError(f"the next server does not add an image: {child.output()}")
            os.kill(child.pid, signal.SIGTERM)
            if code := child.wait().code:
                raise AssertionError(f"the next server ends with {code}")
            if answers(path)[0] != [*found, "last.png"]:
                raise AssertionError("the next server has other images")
            if left := leftovers(Path(folder), self.workshop.tmp, path):
                raise AssertionError(f"left: {left}")
        return f"{'no' if not done else 'some'} changes before", "before" if found == before else "after"

    def _change(self, port: int, names: list[str], rng: random.Random) -> tuple[list[str], list[str], int]:
        """Add and remove images until the server is dead; return those before and after the last change."""
        for done in range(1000):
            name, body = f"new/{done:03}.png", self.bodies[done % len(self.bodies)]
            later = [*names, name]
            if done % 3 == 2:
                name, body = rng.choice(names), b""
                later = [other for other in names if other != name]
            try:
                status, text = request(port, "POST" if body else "DELETE", name, body)
            except (OSError, http.client.HTTPException):
                return names, later, done
            if status != 200:
                raise AssertionError(f"{status}: {text!r}")
            names = later
        raise AssertionError("the server is not killed")


def kill(verb: str, cases: range) -> Iterator[Outcome]:
    """Kill a verb once for each case. What goes wrong is a failure, and not the end."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder))
        killer = ServerKills(workshop) if verb == "serve" else Kills(workshop, verb)
        for case in cases:
            began = time.process_time()
            try:
                where, state = killer.moment(case)
                yield Outcome(case, f"{verb} {where}", state, seconds=time.process_time() - began)
            except (AssertionError, OSError, VitdsiError) as error:
                yield Outcome(case, verb, "failed", str(error))
