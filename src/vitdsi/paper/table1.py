"""The paper's Table 1: all methods, DB sizes and id schemes, written as Markdown and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from vitdsi.paper.cells import Cell
from vitdsi.paper.machine import Machine, describe_machine, distinct_machines
from vitdsi.paper.methods import METHODS, Result
from vitdsi.paper.paired import compare, paired_table
from vitdsi.paper.runner import Runner
from vitdsi.paper.tables import (
    INTERVALS_NOTE,
    QUICK_NOTE,
    Row,
    average_seeds,
    main_table,
    paper_table,
    write_report,
)

_RETRIEVAL_ENDS = {  # with early stopping, or without
    True: "ends when the validation loss no longer falls, with the weights of its minimum",
    False: "takes all its epochs, with the weights of the last",
}


def run_table1(runner: Runner, out: Path, command: str) -> list[tuple[Cell, Result]]:
    """Compute the cells that are missing, and write table1.md and table1.json to `out`.

    Args:
        runner: computes the cells.
        out: folder to write to.
        command: the command line, for the record.

    Returns:
        All cells of the table with their results.
    """
    cells, options = runner.run(), runner.options
    rows, differences = average_seeds(cells), compare(cells)
    rows.sort(key=lambda row: (row["size"], METHODS.index(row["method"])))
    machines = distinct_machines(result["machine"] for _, result in cells)
    content = {
        "format": "vitdsi-table1",
        "version": 1,
        "quick": options.quick,
        "command": command,
        "machines": machines,
        "options": asdict(options),
        "rows": rows,
        "differences": differences,
    }
    write_report(out, "table1", _markdown(rows, differences, runner, command, machines), content)
    return cells


def _markdown(
    rows: Sequence[Row],
    differences: Sequence[Row],
    runner: Runner,
    command: str,
    machines: Sequence[Machine],
) -> str:
    options, dataset = runner.options, runner.dataset
    queries = sorted({row["metrics"]["P@10"]["queries"] for row in rows})
    lines = [
        f"# Table 1: {dataset.name}, relevance: {dataset.relevance}",
        "",
        *([QUICK_NOTE, ""] if options.quick else []),
        f"Command: `{command}`",
        "",
        *(f"Machine: {describe_machine(machine)}" for machine in machines),
        "",
        "## Standard metrics, over all test queries",
        "",
        main_table(rows),
        "",
        *_missing(runner.missing),
        f"{INTERVALS_NOTE} Test queries of a row, over its seeds: {', '.join(map(str, queries))}. DB size is "
        f"the number of images in all roles, of which {options.indexing_share:.0%} are indexed; the others are "
        f"queries, split .8/.1/.1 by image. Models read {options.image_size} px, SIFT {options.bovw_size} px. Seconds "
        "are training time (for baselines, indexing time); TFLOP are those of the matrix products of training. The "
        "retrieval phase of the fine-tuned rows "
        f"{_RETRIEVAL_ENDS[options.early_stopping]}. Ours trains for at most as long as the fine-tuned row of the same "
        'size and ids, "ours by examples" on as many examples, which are as many FLOPs, as the model is the same. kNN '
        "uses a backbone trained on ImageNet; all other rows are trained from scratch.",
        "",
        *_paired(differences),
        "## The paper's own definitions: measured here / printed in the paper",
        "",
        paper_table(rows),
        "",
        "As in the paper, MAP@10 is the mean P@10 of ten sampled queries, and Recall@100 the mean over the same ten; "
        "means of ten queries vary a lot. The paper's figures are of ten classes of ImageNet at 160 px.",
        "",
    ]
    return "\n".join(lines)


def _paired(differences: Sequence[Row]) -> list[str]:
    if not differences:
        return []
    return [
        "## Paired differences, over the same test queries",
        "",
        paired_table(differences),
        "",
        "Brackets are 95 % intervals: a bootstrap over queries within each seed. The seeds ahead have a positive mean.",
        "",
    ]


def _missing(cells: Sequence[Cell]) -> list[str]:
    """Say which cells of the table are not measured."""
    seeds: dict[tuple[str, str, int], list[int]] = {}
    for cell in cells:
        seeds.setdefault((cell.method, cell.scheme, cell.size), []).append(cell.seed)
    if not seeds:
        return []
    parts = [
        f"{method}, {ids} ids, {size}: {', '.join(map(str, n))}" for (method, ids, size), n in seeds.items()
    ]
    return [
        f"Not measured (the same command without `--finished` computes them), by seeds: {'; '.join(parts)}.",
        "",
    ]
