"""What robustness costs: the phases of a build, and searches in parts and with proof, beside the backbone alone.

    python benchmarks/robust_cost.py PHOTOS [--count N] [key=value ...]

Reads the first N photos with the backbone alone and without a cache, then builds an index of them without a cache, and
searches it with some of them, one after the other. Prints seconds and milliseconds of wall-clock time, and ratios to
the backbone. It must be alone on its machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from shared import timed

from vitdsi import ImageIndex
from vitdsi.backbones.reader import FeatureReader
from vitdsi.config import load_config
from vitdsi.photos.find import find_images
from vitdsi.progress import Progress

_SEARCHED = 100
_WARM = 5  # searches before time is measured
_OPTIONS = {
    "the whole": {"regions": 1, "verify": False},
    "five parts": {"verify": False},
    "the whole, verified": {"regions": 1},
    "five parts, verified": {},
}


def phases(seconds: dict[str, float]) -> Callable[[Progress], None]:
    """Return a progress function that adds up the seconds of each phase."""
    last = time.perf_counter()

    def report(progress: Progress) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[progress.phase] = seconds.get(progress.phase, 0.0) + now - last
        last = now

    return report


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--count", type=int, default=1500)
    given = parser.parse_intermixed_args()
    paths = find_images(given.photos)[: given.count]
    reader, index = FeatureReader("pooled"), ImageIndex(load_config(overrides=given.overrides))
    reader.load(paths[:_WARM])
    alone = timed(lambda: reader.load(paths))
    seconds: dict[str, float] = {}
    build = timed(lambda: index.fit(paths, on_progress=phases(seconds)))
    print(f"backbone alone, {len(paths)} photos: {alone:.1f} s")
    for phase, spent in seconds.items():
        print(f"  {phase}: {spent:.1f} s")
    print(f"build: {build:.1f} s, {build / alone:.2f} passes of the backbone")
    some = paths[:: max(1, len(paths) // _SEARCHED)][:_SEARCHED]
    one = timed(lambda: [reader.load([path]) for path in some]) / len(some)
    print(f"backbone alone, one photo: {1000 * one:.1f} ms")
    for name, options in _OPTIONS.items():
        for path in some[:_WARM]:
            index.search(path, **options)  # type: ignore[arg-type]
        spent = timed(lambda options=options: [index.search(path, **options) for path in some]) / len(some)
        print(f"search, {name}: {1000 * spent:.1f} ms, {spent / one:.2f} of the backbone")


if __name__ == "__main__":
    main()
