"""Ablations: cells of Table 1, computed again for several values of one setting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vitdsi.errors import UsageError
from vitdsi.paper.figures import COLOURS, new_figure, save_figure
from vitdsi.paper.machine import Machine, describe_machine, distinct_machines
from vitdsi.paper.runner import Options, Runner
from vitdsi.paper.scores import METRICS
from vitdsi.paper.tables import (
    INTERVALS_NOTE,
    QUICK_NOTE,
    Row,
    average_seeds,
    format_interval,
    markdown,
    write_report,
)
from vitdsi.paper.variations import ABLATIONS, Variation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PLOTTED = ("IA@1", "P@10", "Recall@100")


def run_ablation(
    name: str,
    options: Options,
    runner_for: Callable[[Options], Runner],
    out: Path,
    command: str,
    *,
    values: Sequence[str] = (),
) -> list[str]:
    """Compute the cells for each value of a setting, and write the table and the figure.

    Args:
        name: a key of `ABLATIONS`.
        options: all options but the setting that varies.
        runner_for: makes the runner of such options.
        out: folder to write to.
        command: the command line, for the record.
        values: the values of the setting; none for those of the paper.

    Returns:
        The names of the files: ablation-NAME.md, .json, .png and .svg.

    Raises:
        UsageError: there is no such ablation, or the setting does not accept a value.
    """
    if name not in ABLATIONS:
        raise UsageError(f"ablation {name!r} is unknown; choose one of {', '.join(ABLATIONS)}")
    variation = ABLATIONS[name]
    runners = {
        value: runner_for(vary_options(options, variation, value)) for value in values or variation.values
    }
    rows: list[Row] = []
    machines: list[Machine] = []
    for value, runner in runners.items():
        cells = runner.run()
        rows += [{"value": value, **row} for row in average_seeds(cells)]
        machines = distinct_machines([*machines, *(result["machine"] for _, result in cells)])
    content = {
        "format": "vitdsi-ablation",
        "version": 1,
        "setting": variation.setting,
        "claim": variation.claim,
        "quick": options.quick,
        "command": command,
        "machines": machines,
        "options": asdict(options),
        "rows": rows,
    }
    stem = f"ablation-{name}"
    written = write_report(out, stem, _markdown(variation, rows, options, command, machines), content)
    return [*written, *save_figure(_figure(variation, rows, options.quick), out, stem)]


def vary_options(options: Options, variation: Variation, value: str) -> Options:
    """Return `options` with another value of a setting. Raises UsageError if the value must be a number and is not."""
    if variation.setting in ("image_size", "indexing_share"):
        try:
            number = int(value) if variation.setting == "image_size" else float(value)
        except ValueError as error:
            raise UsageError(f"{variation.setting}={value}: give a number") from error
        return replace(options, **{variation.setting: number})  # type: ignore[arg-type]
    return replace(
        options,
        overrides=(*options.overrides, f"{variation.setting}={value}"),
        early_stopping=options.early_stopping and variation.early_stopping,
    )


def _markdown(
    variation: Variation,
    rows: Sequence[Row],
    options: Options,
    command: str,
    machines: Sequence[Machine],
) -> str:
    body = [
        [
            row["value"],
            row["method"],
            row["ids"],
            f"{row['size']} ({row['indexed']})",
            *(format_interval(row["metrics"][name]) for name in METRICS),
            f"{row['seconds']:.0f}",
            f"{row['parameters']:,}",
        ]
        for row in rows
    ]
    header = ["value", "method", "ids", "DB size (indexed)", *METRICS, "seconds", "parameters"]
    chances = ", ".join(f"{name} {rows[0]['metrics'][name]['chance']:.3f}" for name in METRICS)
    lines = [
        f"# Ablation: {variation.setting}",
        "",
        *([QUICK_NOTE, ""] if options.quick else []),
        f"The paper says: {variation.claim}.",
        "",
        f"Command: `{command}`",
        "",
        *(f"Machine: {describe_machine(machine)}" for machine in machines),
        "",
        markdown(header, body),
        "",
        f"{INTERVALS_NOTE} Chance of the first row: {chances}.",
        "",
    ]
    return "\n".join(lines)


def _figure(variation: Variation, rows: Sequence[Row], quick: bool) -> Figure:
    """Draw a panel for each metric, with a line for each method and id scheme; bars are 95 % intervals."""
    figure, axes = new_figure(len(_PLOTTED), width=8.0)
    values = list(dict.fromkeys(row["value"] for row in rows))
    lines = list(dict.fromkeys((row["method"], row["ids"], row["size"]) for row in rows))
    for axis, name in zip(axes, _PLOTTED, strict=True):
        for number, line in enumerate(lines):
            points = [row for row in rows if (row["method"], row["ids"], row["size"]) == line]
            metrics = [row["metrics"][name] for row in points]
            # A metric without a value becomes NaN, which matplotlib leaves out.
            heights = np.array([metric["value"] for metric in metrics], dtype=float)
            low, high = np.array([metric["ci95"] for metric in metrics], dtype=float).T
            shift = 0.06 * (number - (len(lines) - 1) / 2)
            axis.errorbar(
                [values.index(row["value"]) + shift for row in points],
                heights,
                yerr=[heights - low, high - heights],
                color=COLOURS[number % len(COLOURS)],
                marker="o",
                markersize=3.5,
                capsize=2,
                linewidth=1.2,
                label=f"{line[0]}, {line[1]} ids, {line[2]} images",
            )
        axis.set_xticks(range(len(values)), values)
        axis.set_xlabel(variation.setting)
        axis.set_ylabel(name)
        axis.set_ylim(0, 1.02)
    figure.suptitle(f"{variation.setting}{' (quick run)' if quick else ''}", fontsize=10)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure
