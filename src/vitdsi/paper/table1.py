"""The paper's Table 1: every method on every DB size and id scheme, written as Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vitdsi.files import write_atomically
from vitdsi.paper.cells import Cell
from vitdsi.paper.machine import machine_class
from vitdsi.paper.methods import Result
from vitdsi.paper.runner import Options, Runner
from vitdsi.paper.tables import INTERVALS, main_table, paper_table, rows

QUICK = "**Quick run:** training is cut short to be done in minutes. These figures say that the code works, no more."
_ENDS = {
    True: "ends when the validation loss has stopped falling, with the weights of its minimum",
    False: "takes all its epochs, with the weights of the last",
}


def run_table1(runner: Runner, out: Path, command: str) -> list[tuple[Cell, Result]]:
    """Compute what is missing, and write table1.md and table1.json into `out`. Returns the cells."""
    cells = runner.run()
    write_table1(cells, runner.options, out, command)
    return cells


def write_table1(cells: Sequence[tuple[Cell, Result]], options: Options, out: Path, command: str) -> None:
    """The tables of finished cells."""
    made = rows(cells)
    machines = _distinct([result["machine"] for _, result in cells] or [machine_class()])
    content = {
        "format": "vitdsi-table1",
        "version": 1,
        "quick": options.quick,
        "command": command,
        "machines": machines,
        "options": asdict(options),
        "rows": made,
    }
    with write_atomically(out / "table1.json") as stream:
        stream.write((json.dumps(content, indent=1) + "\n").encode())
    with write_atomically(out / "table1.md") as stream:
        stream.write(_markdown(made, cells, options, command, machines).encode())


def _markdown(
    made: list[dict[str, Any]],
    cells: Sequence[tuple[Cell, Result]],
    options: Options,
    command: str,
    machines: list[dict[str, Any]],
) -> str:
    first = cells[0][0]
    queries = sorted({row["metrics"]["P@10"]["queries"] for row in made})
    lines = [
        f"# Table 1: {first.dataset}, relevance: {first.relevance}",
        "",
        *([QUICK, ""] if options.quick else []),
        f"Command: `{command}`",
        "",
        *(f"Machine: {describe(machine)}" for machine in machines),
        "",
        "## Standard metrics, over all test queries",
        "",
        main_table(made),
        "",
        f"{INTERVALS} Test queries: {', '.join(map(str, queries))} over {len(options.seeds)} seed(s). DB size is the "
        f"number of images in all, of which {options.indexing_share:.0%} are indexed; the others are queries, split "
        f".8/.1/.1 by image. Models read {options.image_size} px, SIFT {options.bovw_size} px. Seconds are training "
        "(for baselines: indexing) time; the retrieval phase of the fine-tuned rows "
        f"{_ENDS[options.early_stopping]}; ours has at most that of the fine-tuned row beside it. kNN uses a backbone "
        "trained on ImageNet; all other rows start from nothing.",
        "",
        "## The paper's own definitions: measured here / printed in the paper",
        "",
        paper_table(made),
        "",
        "MAP@10 is here the mean P@10 of ten sampled queries, and Recall@100 the mean of the same ten, as the paper "
        "defines them; figures of ten queries vary a lot. The paper's are of ImageNet at 160 px, with ten classes.",
        "",
    ]
    return "\n".join(lines)


def describe(machine: dict[str, Any]) -> str:
    """One line: cores, processor, GPU."""
    gpu = machine["gpu"] or "no GPU"
    counts = f"cores: {machine['cores']}, torch threads: {machine['threads']}"
    return f"{counts}, {machine['cpu']}, {gpu}, torch {machine['torch']}"


def _distinct(machines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [machine for i, machine in enumerate(machines) if machine not in machines[:i]]
