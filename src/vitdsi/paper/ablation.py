"""Ablations: the cells of Table 1 again, with one setting varied."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vitdsi.errors import UsageError
from vitdsi.files import write_atomically
from vitdsi.paper.figures import COLOURS, new_figure, save_figure
from vitdsi.paper.runner import Options, Runner
from vitdsi.paper.scores import METRICS
from vitdsi.paper.table1 import QUICK, describe
from vitdsi.paper.tables import INTERVALS, Row, interval, markdown, rows
from vitdsi.paper.variations import ABLATIONS, Variation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = ("IA@1", "P@10", "Recall@100")


def run_ablation(
    name: str,
    options: Options,
    runner_for: Callable[[Options], Runner],
    out: Path,
    command: str,
    *,
    values: Sequence[str] = (),
) -> list[str]:
    """Compute the cells for each value, and write ablation-NAME.md, .json, .png and .svg; returns their names.

    Args:
        options: everything but the setting that is varied. runner_for: makes the runner of such options.
        values: others than the paper's.

    Raises:
        UsageError: an unknown name, or a value that the setting does not take.
    """
    if name not in ABLATIONS:
        raise UsageError(f"ablation {name!r} is unknown; choose one of {', '.join(ABLATIONS)}")
    variation = ABLATIONS[name]
    runners = {value: runner_for(_varied(options, variation, value)) for value in values or variation.values}
    made: list[Row] = []
    machines: list[dict[str, Any]] = []
    for value, runner in runners.items():
        cells = runner.run()
        made += [{"value": value, **row} for row in rows(cells)]
        machines += [r["machine"] for _, r in cells if r["machine"] not in machines]
    content = {
        "format": "vitdsi-ablation",
        "version": 1,
        "setting": variation.setting,
        "claim": variation.claim,
        "quick": options.quick,
        "command": command,
        "machines": machines,
        "options": asdict(options),
        "rows": made,
    }
    stem = f"ablation-{name}"
    with write_atomically(out / f"{stem}.json") as stream:
        stream.write((json.dumps(content, indent=1) + "\n").encode())
    with write_atomically(out / f"{stem}.md") as stream:
        stream.write(_markdown(variation, made, options, command, machines).encode())
    return [f"{stem}.md", f"{stem}.json", *save_figure(_figure(variation, made, options.quick), out, stem)]


def _varied(options: Options, variation: Variation, value: str) -> Options:
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
    made: Sequence[Row],
    options: Options,
    command: str,
    machines: Sequence[dict[str, Any]],
) -> str:
    body = [
        [
            row["value"],
            row["method"],
            row["ids"],
            f"{row['size']} ({row['indexed']})",
            *(interval(row["metrics"][name]) for name in METRICS),
            f"{row['seconds']:.0f}",
            f"{row['parameters']:,}",
        ]
        for row in made
    ]
    header = ["value", "method", "ids", "DB size (indexed)", *METRICS, "seconds", "parameters"]
    chances = ", ".join(f"{name} {made[0]['metrics'][name]['chance']:.3f}" for name in METRICS)
    lines = [
        f"# Ablation: {variation.setting}",
        "",
        *([QUICK, ""] if options.quick else []),
        f"The paper says: {variation.claim}.",
        "",
        f"Command: `{command}`",
        "",
        *(f"Machine: {describe(machine)}" for machine in machines),
        "",
        markdown(header, body),
        "",
        f"{INTERVALS} Chance of the first row: {chances}.",
        "",
    ]
    return "\n".join(lines)


def _figure(variation: Variation, made: Sequence[Row], quick: bool) -> Figure:
    """A panel a metric, a line a method and id scheme; bars are 95 % intervals."""
    figure, axes = new_figure(len(_SHOWN), width=8.0)
    values = list(dict.fromkeys(row["value"] for row in made))
    lines = list(dict.fromkeys((row["method"], row["ids"], row["size"]) for row in made))
    for axis, name in zip(axes, _SHOWN, strict=True):
        for number, line in enumerate(lines):
            points = [row for row in made if (row["method"], row["ids"], row["size"]) == line]
            metrics = [row["metrics"][name] for row in points]
            # None is NaN, which is not drawn
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
