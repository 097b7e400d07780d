"""Reading photos with one and with several worker processes: photos a second, and how busy the cores were.

    python benchmarks/extraction.py PHOTOS [--count N] [--workers W ...] [--out FILE]

Reads the first N photos into a new feature cache with each number of workers, the start of the processes included, and
checks that the features have the same bits. Prints a line of JSON for each number:

- `photos_per_second` of wall-clock time, and `ratio` to one worker;
- `milliseconds`: processor time for each photo, of all processes together;
- `busy`: processor time by wall-clock time and cores;
- `wanted`: the time that threads ran or waited for a core, by wall-clock time and cores, 1 at most. On a machine that
  is shared with other programs, this is nearly what `busy` would be without them. It is None where the system does
  not tell (`/proc/PID/task/TID/schedstat`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from vitdsi.backbones.reader import FeatureReader
from vitdsi.engine.base import cores
from vitdsi.engine.local import LocalEngine
from vitdsi.photos.find import find_images


def processor_seconds() -> float:
    """The processor time of this process and of the children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


class Wanted:
    """Adds up the seconds that the threads of this process and of its children ran or waited for a core."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, ...], float] = {}
        self._last: dict[tuple[str, ...], float] = {}
        self._over = threading.Event()
        self._look(at_start=True)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self._look(at_start=False)

    def _look(self, *, at_start: bool) -> None:
        processes = [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]
        for process in processes:
            for path in Path(f"/proc/{process}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):
                    ran, waited, _ = map(int, path.read_text("utf-8").split())
                    self._last[path.parts] = (ran + waited) / 1e9
                    if at_start:
                        self._first[path.parts] = self._last[path.parts]

    def stop(self) -> float:
        """Return the seconds since the beginning."""
        self._over.set()
        self._thread.join()
        return sum(seconds - self._first.get(thread, 0.0) for thread, seconds in self._last.items())


def measure(paths: list[Path], workers: int) -> tuple[dict[str, Any], torch.Tensor]:
    """Read photos with a number of workers: the figures, and the features."""
    with tempfile.TemporaryDirectory() as cache:
        reader = FeatureReader("pooled", cache=Path(cache), engine=LocalEngine(workers))
        wanted = Wanted()
        began, spent = time.perf_counter(), processor_seconds()
        read = reader.load(paths)
        seconds = time.perf_counter() - began
        spent = processor_seconds() - spent
        runnable = wanted.stop()
    figures = {
        "workers": workers,
        "photos": len(read.features),
        "photos_per_second": round(len(read.features) / seconds, 1),
        "milliseconds": round(1000 * spent / len(read.features), 2),
        "busy": round(spent / seconds / cores(), 3),
        "wanted": round(min(1.0, runnable / seconds / cores()), 3) if runnable > 0 else None,
    }
    return figures, read.features


def main() -> None:
    """Measure each number of workers, and print lines of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, cores()])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    paths = find_images(given.photos)[: given.count]
    FeatureReader("pooled").load(paths[:5])  # loads what is loaded once
    found = [measure(paths, workers) for workers in given.workers]
    first = found[0]
    lines = []
    for figures, features in found:
        figures["ratio"] = round(figures["photos_per_second"] / first[0]["photos_per_second"], 2)
        figures["same_bits"] = torch.equal(features, first[1])
        lines.append(json.dumps(figures))
        print(lines[-1])
    if given.out is not None:
        given.out.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
