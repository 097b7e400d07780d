from __future__ import annotations

import contextlib
import io

import pytest
from rich.console import Console

from vitdsi.cli.terminal import BuildDisplay, describe, plain_facts, plain_results, print_metrics, problems
from vitdsi.errors import ImageReadError
from vitdsi.index import SearchResult
from vitdsi.progress import Progress


def test_describe_lists_the_figures_that_are_known() -> None:
    assert describe(Progress("reading", 3)) == "reading 3"
    full = Progress("joint", 350, 1200, 0.4121, 0.93, 1.5, 5120.4, 3725.0)
    wanted = "joint 350/1200, loss 0.412, indexing accuracy 0.930, retrieval loss 1.500, 5,120 images/s, 1:02:05 left"
    assert describe(full) == wanted
    assert describe(Progress("joint", 1, seconds_left=65.4)).endswith("1:05 left")


def test_without_a_terminal_each_phase_and_the_end_are_one_line() -> None:
    stream = io.StringIO()
    with contextlib.closing(BuildDisplay(Console(file=stream, width=20), interval=3600)) as display:
        for done in range(5):
            display(Progress("reading", done, 4))
        for done in range(5):
            display(Progress("joint", done, 4, 0.5, 0.25))
    facts = ", loss 0.500, indexing accuracy 0.250"
    assert stream.getvalue().splitlines() == ["reading 0/4", f"joint 0/4{facts}", f"joint 4/4{facts}"]


def test_without_a_terminal_a_line_is_printed_after_each_interval() -> None:
    stream = io.StringIO()
    with contextlib.closing(BuildDisplay(Console(file=stream), interval=0)) as display:
        for done in range(3):
            display(Progress("reading", done))
    assert stream.getvalue().splitlines() == ["reading 0", "reading 1", "reading 2"]


def test_ctrl_c_while_printing_does_not_repeat_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    console = Console(file=stream)
    with contextlib.closing(BuildDisplay(console, interval=3600)) as display:
        display(Progress("reading", 0, 4))
        display(Progress("reading", 1, 4))
        with monkeypatch.context() as patch:
            patch.setattr(console, "print", _press)
            with pytest.raises(KeyboardInterrupt):
                display(Progress("joint", 0, 4))
    assert stream.getvalue().splitlines() == ["reading 0/4"]


def _press(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_on_a_terminal_each_phase_has_a_bar() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120, color_system=None)
    with contextlib.closing(BuildDisplay(console)) as display:
        display(Progress("reading", 4, 4))
        display(Progress("joint", 7, None, 0.5))
    shown = stream.getvalue()
    assert "reading" in shown and "4/4" in shown
    assert "joint" in shown and "7/?" in shown and "loss 0.500" in shown


def test_results_are_aligned_and_names_that_are_not_utf8_printable() -> None:
    results = [
        SearchResult(9, "a.jpg", 0.5, 1, -0.75, True),
        SearchResult(10, "b\udcff.jpg", 0.25, 2, -1.5, False, 40, True),
    ]
    text = plain_results("q.jpg", results)
    assert text.splitlines() == ["q.jpg", "   9  0.5000  a.jpg", "  10  0.2500  b?.jpg  certain"]


def test_names_with_control_characters_stay_on_their_line() -> None:
    text = plain_results("a\nb.jpg", [SearchResult(1, "c\x1b[2J\u202egpj.jpg", 0.5, 1, -0.75, False)])
    assert text.splitlines() == ["a\\nb.jpg", "  1  0.5000  c\\x1b[2J\\u202egpj.jpg"]


def test_metrics_table_mentions_excluded_queries() -> None:
    stream = io.StringIO()
    metric = {"value": 0.5, "chance": 0.125, "ci95": (0.25, 0.75), "queries": 1200, "excluded": 3}
    print_metrics({"MAP@10": metric}, Console(file=stream, width=80))
    shown = stream.getvalue()
    for part in (
        "MAP@10",
        "0.5000",
        "0.2500 to 0.7500",
        "0.1250",
        "1,200",
        "image, left out: 3",
    ):
        assert part in shown


def test_metric_without_a_value_is_a_dash() -> None:
    stream = io.StringIO()
    metric = {"value": None, "chance": None, "ci95": [None, None], "queries": 0, "excluded": 2}
    print_metrics({"MAP": metric}, Console(file=stream, width=100))
    assert "- to -" in stream.getvalue()


def test_names_of_nested_facts_are_dotted() -> None:
    assert plain_facts({"images": 3, "report": {"loss": None}}).splitlines() == [
        "images       3",
        "report.loss  -",
    ]


def test_items_of_lists_are_numbered_and_empty_values_a_dash() -> None:
    facts = {"changes": [{"verb": "add", "images": 2}, "other"], "none": [], "metadata": {}}
    assert plain_facts(facts).splitlines() == [
        "changes.1  verb add, images 2",
        "changes.2  other",
        "none       -",
        "metadata   -",
    ]


@pytest.mark.parametrize("count", [10, 12])
def test_problems_lists_the_first_ten_files_and_counts_the_others(count: int) -> None:
    lines = list(problems([ImageReadError(f"{i}.jpg", "empty") for i in range(count)], []))
    assert lines[0] == f"unreadable files, skipped: {count}"
    assert lines[1:11] == [f"  {i}.jpg: empty" for i in range(10)]
    assert lines[11:] == (["  and 2 more"] if count == 12 else [])


def test_problems_lists_names_that_no_image_has() -> None:
    assert list(problems([], [], ["a.jpg"])) == ["names in the metadata without an image: 1", "  a.jpg"]


def test_problems_counts_the_copies_beyond_the_first() -> None:
    assert list(problems([], [["a", "b", "c"], ["d", "e"]])) == [
        "files with the same content as another: 3",
        "  a = b = c",
        "  d = e",
    ]
