"""Indexing accuracy against precision along fine-tuning, with the printed states of the paper and our recipe."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitdsi.errors import UsageError
from vitdsi.paper.cells import Cell
from vitdsi.paper.curve import LINES, curve, curve_cell
from vitdsi.paper.figures import COLOURS, new_figure, save_figure
from vitdsi.paper.machine import Machine, describe_machine, distinct_machines
from vitdsi.paper.methods import Result
from vitdsi.paper.printed import printed
from vitdsi.paper.runner import NO_IDS, Runner
from vitdsi.paper.tables import (
    Row,
    average_metric,
    average_seeds,
    format_interval,
    format_number,
    markdown,
    write_report,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_METRICS = ("IA@1", "P@10", "MAP@10")
_REFERENCES = ("fine-tuned", "ours by examples", "BoVW improved")


def run_tradeoff(runner: Runner, out: Path, command: str) -> list[str]:
    """Compute the lines, and write tradeoff.md, .json, .png and .svg to `out`; return the names of the files.

    Raises:
        UsageError: only finished cells are wanted, and there is no line.
    """
    options = runner.options
    lines: list[Row] = []
    references: list[tuple[Cell, Result]] = []
    machines: list[Machine] = []
    for size in options.sizes:
        for scheme in options.schemes:
            for line in LINES:
                seeds = [s for s in options.seeds if runner.wants(curve_cell(runner, line, size, scheme, s))]
                results = [curve(runner, line, size, scheme, seed)[1] for seed in seeds]
                if results:
                    lines.append(
                        {"size": size, "ids": scheme, "line": line.name, **_line(results), "seeds": seeds}
                    )
                machines = distinct_machines([*machines, *(result["machine"] for result in results)])
            for method in _REFERENCES:
                ids = NO_IDS if method.startswith("BoVW") else scheme
                wanted = [s for s in options.seeds if runner.wants(runner.cell(method, size, ids, s))]
                references += [runner.result(method, size, ids, seed) for seed in wanted]
    if not lines:
        raise UsageError("no line of the trade-off is finished; compute some first")
    rows = average_seeds(references)
    content = {
        "format": "vitdsi-tradeoff",
        "version": 1,
        "command": command,
        "machines": machines,
        "options": asdict(options),
        "lines": lines,
        "references": rows,
    }
    written = write_report(out, "tradeoff", _markdown(runner, lines, rows, command, machines), content)
    return [*written, *save_figure(_figure(lines, rows), out, "tradeoff")]


def _line(results: Sequence[Result]) -> dict[str, Any]:
    """Average the points of a line over seeds."""
    points = [
        {
            "step": same[0]["step"],
            "epoch": same[0]["epoch"],
            "metrics": {
                name: average_metric([point["metrics"][name] for point in same]) for name in _METRICS
            },
        }
        for same in zip(*(result["points"] for result in results), strict=True)
    ]
    return {"points": points}


def at_accuracy(points: Sequence[Mapping[str, Any]], accuracy: float) -> tuple[float, float] | None:
    """The epoch and P@10 where a line first falls to an IA@1, interpolated between its points; None if it does not."""
    for before, after in itertools.pairwise(points):
        start, end = (point["metrics"]["IA@1"]["value"] for point in (before, after))
        if start > accuracy >= end:
            share = (start - accuracy) / (start - end)
            epochs, precisions = (
                (before["epoch"], after["epoch"]),
                tuple(point["metrics"]["P@10"]["value"] for point in (before, after)),
            )
            return epochs[0] + share * (epochs[1] - epochs[0]), precisions[0] + share * (
                precisions[1] - precisions[0]
            )
    return None


def _markdown(
    runner: Runner,
    lines: Sequence[Row],
    references: Sequence[Row],
    command: str,
    machines: Sequence[Machine],
) -> str:
    states, body = [], []
    for line in lines:
        paper = printed("fine-tuned", line["ids"], line["size"])
        shown = [line["line"], line["ids"], str(line["size"]), str(len(line["seeds"]))]
        if paper.get("IA@1") is not None:
            found = at_accuracy(line["points"], paper["IA@1"] or 0.0)
            reached = ("-", "-") if found is None else (f"{found[0]:.3f}", format_number(found[1]))
            states.append([*shown, format_number(paper["IA@1"]), *reached, format_number(paper["MAP@10"])])
        body += [
            [
                *shown[:3],
                str(p["step"]),
                f"{p['epoch']:.3f}",
                *(format_interval(p["metrics"][n]) for n in _METRICS),
            ]
            for p in line["points"]
        ]
    others = [
        [row["method"], row["ids"], str(row["size"]), *(format_interval(row["metrics"][n]) for n in _METRICS)]
        for row in references
    ]
    header = ["line", "ids", "DB size"]
    text = [
        "# Indexing accuracy against retrieval along fine-tuning",
        "",
        f"Command: `{command}`",
        "",
        *(f"Machine: {describe_machine(machine)}" for machine in machines),
        "",
        "## At the IA@1 that the paper prints for its fine-tuned model",
        "",
        markdown([*header, "seeds", "IA@1", "epoch", "P@10", "P@10 printed"], states),
        "",
        "The epoch and P@10 are interpolated linearly between the points of the mean line. The paper's P@10 (its "
        "MAP@10) is the mean of ten queries. A dash: the line does not fall to that accuracy.",
        "",
        "## Other models",
        "",
        markdown(["method", "ids", "DB size", *_METRICS], others),
        "",
        f"## All points ({runner.options.image_size} px)",
        "",
        markdown([*header, "step", "epoch", *_METRICS], body),
        "",
        "An epoch has as many retrieval examples as there are pairs of a train query and a relevant image.",
        "",
    ]
    return "\n".join(text)


def _figure(lines: Sequence[Row], references: Sequence[Row]) -> Figure:
    """Draw a panel for each DB size and id scheme: P@10 over IA@1, from right (zero-shot) to left."""
    panels = list(dict.fromkeys((line["size"], line["ids"]) for line in lines))
    figure, axes = new_figure(len(panels), width=max(6.0, 3.8 * len(panels)), height=4.0)
    for axis, (size, scheme) in zip(axes, panels, strict=True):
        for number, line in enumerate(
            line for line in lines if (line["size"], line["ids"]) == (size, scheme)
        ):
            values = [[point["metrics"][name]["value"] for point in line["points"]] for name in _METRICS]
            axis.plot(values[0], values[1], "o-", markersize=3, color=COLOURS[number], label=line["line"])
        chance = next(line for line in lines if line["size"] == size)["points"][0]["metrics"]["P@10"][
            "chance"
        ]
        axis.axhline(chance, color="#999999", linewidth=0.8, label="chance")
        _printed_states(axis, size)
        for row in references:
            if row["size"] == size and row["ids"] in (scheme, NO_IDS):
                marker = {"fine-tuned": "s", "ours by examples": "*", "BoVW improved": "D"}[row["method"]]
                place = (row["metrics"]["IA@1"]["value"], row["metrics"]["P@10"]["value"])
                axis.plot(
                    *place, marker, color="#4d4d4d", markersize=9 if marker == "*" else 5, label=row["method"]
                )
        axis.set_title(f"{size} images, {scheme} ids", fontsize=9)
        axis.set_xlabel("IA@1")
        axis.set_ylabel("P@10")
        axis.set_xlim(-0.04, 1.04)
        axis.set_ylim(0, None)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _printed_states(axis: Axes, size: int) -> None:
    """Draw the paper's printed states, from zero-shot to fine-tuned, for both id schemes."""
    for scheme, style in (("random", ":"), ("clustered", "--")):
        states = [printed(method, scheme, size) for method in ("zero-shot", "fine-tuned")]
        if all(states):
            x, y = ([state[name] or 0.0 for state in states] for name in ("IA@1", "MAP@10"))
            axis.plot(
                x, y, "x" + style, color="#999999", linewidth=1, label=f"printed in the paper, {scheme} ids"
            )
