"""Reading photos with one and with several worker processes: photos a second, and how busy the cores were.

    python benchmarks/extraction.py PHOTOS [--count N] [--workers W ...] [--out FILE]

Reads the first N photos into a new feature cache with each number of workers, the start of the processes included, and
checks that the features have the same bits. Prints a line of JSON for each number:

- `photos_per_second` of wall-clock time, and `ratio` to one worker;
- `milliseconds`: processor time for each photo, of all processes together;
- `busy`: processor time by wall-clock time and cores;
- `used`: processor time by what other programs left of all cores, that is by this time and the idle time. On a machine
  that is shared with others, this is what `busy` would be without them. It is None where the system does not tell.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
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


def measure(paths: list[Path], workers: int) -> tuple[dict[str, Any], torch.Tensor]:
    """Read photos with a number of workers: the figures, and the features."""
    with tempfile.TemporaryDirectory() as cache:
        reader = FeatureReader("pooled", cache=Path(cache), engine=LocalEngine(workers))
        began, spent, idle = time.perf_counter(), processor_seconds(), psutil.cpu_times()
        read = reader.load(paths)
        seconds = time.perf_counter() - began
        spent = processor_seconds() - spent
        now = psutil.cpu_times()
    left = spent + sum(getattr(now, name, 0.0) - getattr(idle, name, 0.0) for name in ("idle", "iowait"))
    figures = {
        "workers": workers,
        "photos": len(read.features),
        "photos_per_second": round(len(read.features) / seconds, 1),
        "milliseconds": round(1000 * spent / len(read.features), 2),
        "busy": round(spent / seconds / cores(), 3),
        "used": round(spent / left, 3) if left > 0 else None,
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
