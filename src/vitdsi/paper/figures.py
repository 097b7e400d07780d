"""Figures 1 to 3 of the paper, drawn from the training curves of finished cells."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitdsi.files import write_atomically
from vitdsi.paper.cells import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Cells = Sequence[tuple[Cell, Mapping[str, Any]]]

# File, phase, title, and (axis, key of the history) of each panel.
_FIGURES = (
    (
        "figure1-indexing",
        "indexing",
        "Figure 1: indexing phase, training",
        (("loss", "loss"), ("accuracy", "accuracy")),
    ),
    (
        "figure2-retrieval-train",
        "retrieval",
        "Figure 2: retrieval phase, training",
        (("loss", "loss"), ("accuracy", "accuracy")),
    ),
    (
        "figure3-retrieval-validation",
        "retrieval",
        "Figure 3: retrieval phase, validation",
        (("loss", "validation_loss"), ("accuracy", "validation_accuracy")),
    ),
)
_AXES = {
    "loss": "loss (nats per image)",
    "accuracy": "accuracy (share of digits)",
}
COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8d6a9f", "#c98a1b", "#4d4d4d")
_STYLES = {"random": "-", "clustered": "--"}
_STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "svg.hashsalt": "vitdsi",
    "svg.fonttype": "path",
}


def write_figures(cells: Cells, out: Path, *, quick: bool = False) -> list[str]:
    """Write each figure that has curves to `out`, as PNG and SVG; return the names of the files.

    There is a line for each DB size (colour) and id scheme (solid for random, dashed for clustered), from the first
    seed.
    """
    written = []
    for name, phase, title, panels in _FIGURES:
        curves = _curves(cells, phase)
        if curves:
            written += save_figure(
                _figure(curves, f"{title}{' (quick run)' if quick else ''}", panels), out, name
            )
    return written


def new_figure(columns: int, width: float = 7.0, height: float = 2.9) -> tuple[Figure, list[Axes]]:
    """Create an empty figure with a row of axes in the style of all figures, without a window."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, columns, squeeze=False)
    return figure, list(axes[0])


def save_figure(figure: Figure, out: Path, name: str) -> list[str]:
    """Write a figure as NAME.png and NAME.svg; return their names. Equal figures give equal bytes of SVG."""
    import matplotlib as mpl

    written = []
    for kind, metadata in (("png", {}), ("svg", {"Date": None})):
        stream = io.BytesIO()
        with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
            figure.savefig(stream, format=kind, dpi=200, metadata=metadata)
        with write_atomically(out / f"{name}.{kind}") as target:
            target.write(stream.getvalue())
        written.append(f"{name}.{kind}")
    return written


def _curves(cells: Cells, phase: str) -> dict[tuple[int, str], list[dict[str, float]]]:
    """Curves of a phase by (size, scheme), from fine-tuned cells, or from zero-shot cells where these are missing."""
    curves: dict[tuple[int, str], list[dict[str, float]]] = {}
    for wanted in ("fine-tuned", "zero-shot"):
        for cell, result in cells:
            history = result["history"].get(phase)
            if cell.method == wanted and history:
                curves.setdefault((cell.size, cell.scheme), history)
    # Random ids come first, because their line is the solid one.
    return dict(sorted(curves.items(), key=lambda item: (item[0][0], item[0][1] != "random", item[0][1])))


def _figure(
    curves: Mapping[tuple[int, str], list[dict[str, float]]], title: str, panels: Sequence[tuple[str, str]]
) -> Figure:
    sizes = sorted({size for size, _ in curves})
    figure, axes = new_figure(len(panels))
    for axis, (kind, key) in zip(axes, panels, strict=True):
        for (size, scheme), history in curves.items():
            axis.plot(
                [entry["epoch"] for entry in history],
                [entry[key] for entry in history],
                _STYLES.get(scheme, ":"),
                color=COLOURS[sizes.index(size) % len(COLOURS)],
                label=f"{size} images, {scheme} ids",
            )
        axis.set_xlabel("epoch")
        axis.set_ylabel(_AXES[kind])
        axis.set_ylim(0, 1.02 if kind == "accuracy" else None)
        axis.set_xlim(left=0)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.suptitle(title, fontsize=10)
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure
