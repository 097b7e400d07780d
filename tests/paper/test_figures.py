from __future__ import annotations

import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from vitdsi.paper.cells import Cell
from vitdsi.paper.figures import write_figures

pytest.importorskip("matplotlib")

_NAMES = ["figure1-indexing", "figure2-retrieval-train", "figure3-retrieval-validation"]


def curve(start: float) -> list[dict[str, float]]:
    keys = ("loss", "accuracy", "validation_loss", "validation_accuracy")
    return [{"epoch": i, "step": 9 * i, **dict.fromkeys(keys, start / (i + 1))} for i in range(1, 6)]


def cells(methods: tuple[str, ...]) -> list[tuple[Cell, dict[str, Any]]]:
    made = []
    for method in methods:
        for size in (512, 1024):
            for scheme in ("clustered", "random"):
                history = {"indexing": curve(9.0)}
                if method == "fine-tuned":
                    history["retrieval"] = curve(4.0)
                made.append((Cell("p", "class", size, scheme, method, 0, {}), {"history": history}))
    return made


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Figures by name, as they would be written."""
    kept: dict[str, Any] = {}

    def keep(figure: Any, out: Path, name: str) -> list[str]:
        kept[name] = figure
        return []

    monkeypatch.setattr("vitdsi.paper.figures.save_figure", keep)
    return kept


def test_all_three_figures_are_written_as_png_and_svg(tmp_path: Path) -> None:
    written = write_figures(cells(("zero-shot", "fine-tuned")), tmp_path)
    assert written == [f"{name}.{kind}" for name in _NAMES for kind in ("png", "svg")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(written)
    for name in _NAMES:
        content = (tmp_path / f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", content[16:24])
        assert width >= 1200 and height >= 500
        assert ElementTree.parse(tmp_path / f"{name}.svg").getroot().tag.endswith("svg")


def test_equal_curves_give_equal_svg(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_figures(cells(("zero-shot",)), tmp_path / folder)
    name = f"{_NAMES[0]}.svg"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_each_size_and_scheme_has_a_line(tmp_path: Path, drawn: dict[str, Any]) -> None:
    given = cells(("fine-tuned",))
    for number, (_, result) in enumerate(given):
        result["history"]["retrieval"] = curve(10.0 + number)
    write_figures(given, tmp_path)
    assert list(drawn) == _NAMES
    loss, accuracy = drawn[_NAMES[2]].axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == (
        "loss (nats per image)",
        "accuracy (share of digits)",
    )
    expected = {f"{cell.size} images, {cell.scheme} ids": result for cell, result in given}
    assert [line.get_label() for line in loss.lines][:2] == [
        "512 images, random ids",
        "512 images, clustered ids",
    ]
    for axis, key in ((loss, "validation_loss"), (accuracy, "validation_accuracy")):
        assert {line.get_label() for line in axis.lines} == set(expected)
        for line in axis.lines:
            history = expected[line.get_label()]["history"]["retrieval"]
            assert line.get_xydata().tolist() == [[entry["epoch"], entry[key]] for entry in history]
            assert line.get_linestyle() == ("-" if "random" in line.get_label() else "--")
    colours = {(line.get_label().split()[0], line.get_color()) for line in loss.lines}
    assert len(colours) == 2


def test_indexing_curve_is_that_of_the_fine_tuned_cell_if_there_is_one(
    tmp_path: Path, drawn: dict[str, Any]
) -> None:
    given = cells(("zero-shot", "fine-tuned"))
    for cell, result in given:
        if cell.method == "zero-shot":
            result["history"]["indexing"] = curve(1.0)
    write_figures(given, tmp_path)
    assert all(line.get_ydata()[0] == 4.5 for line in drawn[_NAMES[0]].axes[0].lines)


def test_figures_without_curves_are_not_written(tmp_path: Path) -> None:
    assert write_figures(cells(("zero-shot",)), tmp_path) == [f"{_NAMES[0]}.png", f"{_NAMES[0]}.svg"]
    chance = [(Cell("p", "class", 512, "-", "chance", 0, {}), {"history": {}})]
    assert write_figures(chance, tmp_path) == []


def test_title_of_a_quick_run_says_so(tmp_path: Path, drawn: dict[str, Any]) -> None:
    write_figures(cells(("zero-shot",)), tmp_path, quick=True)
    assert drawn[_NAMES[0]].get_suptitle() == "Figure 1: indexing phase, training (quick run)"
