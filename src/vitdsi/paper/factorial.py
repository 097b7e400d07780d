"""A factorial ablation of what our recipe adds to the paper's: the table, the effects and the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vitdsi.errors import UsageError
from vitdsi.paper.cells import Cell
from vitdsi.paper.design import (
    FACTORS,
    combinations,
    combined,
    combined_cell,
    effect,
    interactions,
    name_of,
)
from vitdsi.paper.figures import COLOURS, new_figure, save_figure
from vitdsi.paper.machine import Machine, describe_machine, distinct_machines
from vitdsi.paper.methods import Result
from vitdsi.paper.paired import format_difference, paired_difference
from vitdsi.paper.runner import Runner
from vitdsi.paper.tables import Row, average_seeds, format_interval, markdown, write_report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_METRICS = ("P@10", "MAP@10", "IA@1")


def run_factorial(runner: Runner, out: Path, command: str, *, examples: int | None = None) -> list[str]:
    """Compute the combinations for the first size and id scheme, and write factorial.md, .json, .png and .svg.

    Args:
        runner: computes the cells. With the option `finished`, seeds without all combinations are left out.
        out: folder to write to.
        command: the command line, for the record.
        examples: limit of the training examples of each combination; None for those of the fine-tuned cell.

    Raises:
        UsageError: only finished cells are wanted, and no seed has all of them.
    """
    size, scheme = runner.options.sizes[0], runner.options.schemes[0]
    cells: list[tuple[Cell, Result]] = []
    by_seed: list[list[Result]] = []
    for seed in runner.options.seeds:
        chosen = combinations()
        if all(runner.wants(combined_cell(runner, given, size, scheme, seed, examples)) for given in chosen):
            made = [combined(runner, given, size, scheme, seed, examples) for given in chosen]
            cells += made
            by_seed.append([result for _, result in made])
    if not cells:
        raise UsageError("no seed has all combinations of the design; compute them first")
    rows = average_seeds(cells)
    effects = [
        {"factors": [factor.name], **_effects(by_seed, [number])} for number, factor in enumerate(FACTORS)
    ]
    for pairs in interactions():
        names = [" x ".join(FACTORS[number].letter for number in pair) for pair in pairs]
        effects.append({"factors": names, **_effects(by_seed, pairs[0])})
    machines = distinct_machines(result["machine"] for _, result in cells)
    content = {
        "format": "vitdsi-factorial",
        "version": 1,
        "command": command,
        "machines": machines,
        "options": asdict(runner.options),
        "examples": examples,
        "factors": [asdict(factor) for factor in FACTORS],
        "rows": rows,
        "effects": effects,
    }
    text = _markdown(runner, rows, effects, len(by_seed), command, machines)
    written = write_report(out, "factorial", text, content)
    return [*written, *save_figure(_figure(effects[: len(FACTORS)]), out, "factorial")]


def _effects(by_seed: Sequence[Sequence[Result]], factors: Sequence[int]) -> dict[str, Any]:
    """The effect on each metric, with an interval over queries (for IA over indexed images)."""
    found = {}
    for name in _METRICS:
        values = [np.array([result["values"][name] for result in results]) for results in by_seed]
        found[name] = paired_difference([effect(each, factors) for each in values])
    return found


def _markdown(
    runner: Runner,
    rows: Sequence[Row],
    effects: Sequence[Mapping[str, Any]],
    seeds: int,
    command: str,
    machines: Sequence[Machine],
) -> str:
    options, first = runner.options, rows[0]
    names = [name_of(given) for given in combinations()]
    rows = sorted(rows, key=lambda row: names.index(row["method"]))
    body = [
        [
            row["method"],
            f"{row['examples']:,.0f}",
            *(format_interval(row["metrics"][name]) for name in ("IA@1", "P@10", "MAP@10", "Recall@100")),
        ]
        for row in rows
    ]
    table = [
        [", ".join(each["factors"]), "", *(format_difference(each[name]) for name in _METRICS)]
        for each in effects
    ]
    count = len(FACTORS)
    lines = [
        f"# Factorial ablation: {first['dataset']}, {first['size']} images, {first['ids']} ids",
        "",
        f"Command: `{command}`",
        "",
        *(f"Machine: {describe_machine(machine)}" for machine in machines),
        "",
        "The factors, each at the level of the paper's recipe or of ours: "
        + "; ".join(f"{factor.letter}, {factor.name}" for factor in FACTORS)
        + ".",
        "",
        f"The design is 2^(6-2) of resolution IV with B = J M C and R = M C A: 16 combinations, {seeds} seed(s), "
        f"{options.image_size} px. All combinations may use equally many examples. Joint training uses all of them; "
        "sequential training indexes until an accuracy of .98, uses the rest for retrieval, and has the weights of its "
        "lowest validation loss.",
        "",
        "## Main effects: mean with our level minus mean with the paper's",
        "",
        markdown(["factor", "", *_METRICS], table[:count]),
        "",
        "## Interactions of two factors (those in one line cannot be told apart)",
        "",
        markdown(["factors", "", *_METRICS], table[count:]),
        "",
        "Brackets are 95 % intervals: a bootstrap over the same queries (for IA over indexed images) within each seed. "
        "They do not contain the noise of training again with another seed.",
        "",
        "## Combinations (a letter: our level; a dot: the paper's)",
        "",
        markdown(["combination", "examples", "IA@1", "P@10", "MAP@10", "Recall@100"], body),
        "",
    ]
    return "\n".join(lines)


def _figure(effects: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the main effects on each metric as bars with their intervals."""
    figure, axes = new_figure(len(_METRICS), width=9.0)
    places = np.arange(len(effects))[::-1]
    for axis, name in zip(axes, _METRICS, strict=True):
        values = np.array([each[name]["value"] for each in effects])
        low, high = np.array([each[name]["ci95"] for each in effects]).T
        axis.barh(places, values, xerr=[values - low, high - values], color=COLOURS[0], height=0.6, capsize=2)
        axis.axvline(0, color="#4d4d4d", linewidth=0.8)
        axis.set_yticks(places, [factor.letter for factor in FACTORS] if axis is not axes[0] else [])
        axis.set_xlabel(f"effect on {name}")
    labels = [f"{factor.name.split(' with')[0].split(' instead')[0]} ({factor.letter})" for factor in FACTORS]
    axes[0].set_yticks(places, labels)
    return figure
