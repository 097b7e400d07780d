"""How long the first answer of `vitdsi search` takes, and how much memory: from an export, and with torch.

    python benchmarks/cold_start.py photos.dsi query.jpg [--rounds 5] [-- --regions 1 --no-verify]

Each answer is that of a new process. The two ways take turns, so that other load on the machine is the same for both;
the figures are medians, and of the time both the elapsed and that of the processor. Options after -- are those of
`vitdsi search`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_COMMAND = [sys.executable, "-m", "vitdsi.cli.main"]


def answer(index: Path, query: Path, options: list[str]) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Search in a new process: its seconds, its seconds of the processor, its peak of memory in MB, and results."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [*_COMMAND, "search", str(index), str(query), *options], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the search of {index} failed")
    spent = {
        "seconds": seconds,
        "processor": usage.ru_utime + usage.ru_stime,
        "megabytes": usage.ru_maxrss / 1024,
    }
    return spent, [json.loads(line) for line in lines]


def compare(index: Path, query: Path, options: list[str], rounds: int) -> dict[str, Any]:
    """The medians of both ways, their ratios, and whether they found the same images."""
    with tempfile.TemporaryDirectory() as folder:
        ways = {name: Path(folder) / f"{name}.dsi" for name in ("torch", "export")}
        for copy in ways.values():
            shutil.copytree(index, copy, ignore=shutil.ignore_patterns("onnx"))
        subprocess.run([*_COMMAND, "export", str(ways["export"])], check=True, stdout=subprocess.DEVNULL)
        found: dict[str, list[str]] = {}
        spent: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, copy in ways.items():
                figures, results = answer(copy, query, options)
                spent[name].append(figures)
                found[name] = [result["image_id"] for result in results]
    medians = {
        name: {key: round(statistics.median(each[key] for each in runs), 3) for key in runs[0]}
        for name, runs in spent.items()
    }
    ratios = {key: round(medians["torch"][key] / medians["export"][key], 2) for key in medians["torch"]}
    return {**medians, "ratio": ratios, "same": found["torch"] == found["export"], "rounds": rounds}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("index", type=Path)
    parser.add_argument("query", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = [*sys.argv[1:], "--"]
    end = arguments.index("--")
    given = parser.parse_args(arguments[:end])
    options = arguments[end + 1 : -1]
    print(json.dumps(compare(given.index, given.query, options, given.rounds), indent=1))
