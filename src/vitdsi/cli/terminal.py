"""Output of the command line: progress of a build, results, metrics and facts."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table

if TYPE_CHECKING:
    from vitdsi.errors import ImageReadError
    from vitdsi.progress import Progress
    from vitdsi.search.options import SearchResult

_LISTED = 10
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

__all__ = [
    "BuildDisplay",
    "describe",
    "json_results",
    "plain_facts",
    "plain_results",
    "print_metrics",
    "problems",
]


class BuildDisplay:
    """Shows the progress of a build on stderr: as bars on a terminal, otherwise as a line at intervals.

    Args:
        console: where to write; stderr by default.
        interval: seconds between two lines of a phase without a terminal.
    """

    def __init__(self, console: Console | None = None, *, interval: float = 10.0) -> None:
        self._console = console or Console(stderr=True)
        self._interval = interval
        self._phase: str | None = None
        self._task: TaskID | None = None
        self._printed = 0.0
        self._pending: Progress | None = None
        self._bars = Bars(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._bars.start()

    def close(self) -> None:
        """End the display after printing the last line."""
        self._bars.stop()
        if self._pending is not None:
            self._print(self._pending)

    def __call__(self, progress: Progress) -> None:
        """Show the progress of the build."""
        if self._console.is_terminal:
            self._draw(progress)
        elif progress.phase != self._phase or time.monotonic() - self._printed >= self._interval:
            self._print(progress)
        else:
            self._pending = progress
        self._phase = progress.phase

    def _draw(self, progress: Progress) -> None:
        if progress.phase != self._phase or self._task is None:
            self._task = self._bars.add_task(progress.phase, total=progress.total, facts="")
        self._bars.update(
            self._task, completed=progress.done, total=progress.total, facts=" · ".join(_facts(progress))
        )

    def _print(self, progress: Progress) -> None:
        # This comes first, so that Ctrl-C while printing leaves nothing to print again.
        self._printed, self._pending = time.monotonic(), None
        self._console.print(describe(progress), highlight=False, markup=False, soft_wrap=True)


def describe(progress: Progress) -> str:
    """Describe progress in one line: the phase, its progress, and the known figures."""
    total = "" if progress.total is None else f"/{progress.total}"
    return ", ".join([f"{progress.phase} {progress.done}{total}", *_facts(progress)])


def _facts(progress: Progress) -> Iterator[str]:
    if progress.loss is not None:
        yield f"loss {progress.loss:.3f}"
    if progress.indexing_accuracy is not None:
        yield f"indexing accuracy {progress.indexing_accuracy:.3f}"
    if progress.retrieval_loss is not None:
        yield f"retrieval loss {progress.retrieval_loss:.3f}"
    if progress.images_per_second is not None:
        yield f"{progress.images_per_second:,.0f} images/s"
    if progress.seconds_left is not None:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        hours, minutes = divmod(minutes, 60)
        yield (f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}") + " left"


def json_results(query: str, results: Sequence[SearchResult]) -> str:
    """Format results as JSON lines, one object for each result."""
    return "\n".join(json.dumps({"query": query, **result.as_dict()}) for result in results)


def plain_results(query: str, results: Sequence[SearchResult]) -> str:
    """Format results as text: the query, then rank, score and image_id in columns."""
    width = max((len(str(result.rank)) for result in results), default=1)
    lines = [
        f"  {result.rank:>{width}}  {result.score:.4f}  {result.image_id}{'  certain' if result.certain else ''}"
        for result in results
    ]
    return "\n".join(map(_printable, [query, *lines]))


def problems(
    skipped: Sequence[ImageReadError],
    duplicates: Sequence[Sequence[str]] = (),
    unmatched: Sequence[str] = (),
) -> Iterator[str]:
    """Yield lines about skipped files, files with the same bytes, and names in the metadata that no image has.

    Each group has its count and its first ten entries.
    """
    if skipped:
        yield f"unreadable files, skipped: {len(skipped)}"
        yield from _first([str(error) for error in skipped])
    if duplicates:
        yield f"files with the same content as another: {sum(len(group) - 1 for group in duplicates)}"
        yield from _first([" = ".join(group) for group in duplicates])
    if unmatched:
        yield f"names in the metadata without an image: {len(unmatched)}"
        yield from _first(unmatched)


def _first(lines: Sequence[str]) -> Iterator[str]:
    for line in lines[:_LISTED]:
        yield f"  {line}"
    if len(lines) > _LISTED:
        yield f"  and {len(lines) - _LISTED} more"


def print_metrics(metrics: Mapping[str, Mapping[str, Any]], console: Console | None = None) -> None:
    """Print a table of metrics, as returned by `Metric.as_dict`, on stdout."""
    table = Table("metric")
    for heading in ("value", "95 % interval", "chance", "queries"):
        table.add_column(heading, justify="right")
    for name, metric in metrics.items():
        low, high = map(_figure, metric["ci95"])
        value, chance = _figure(metric["value"]), _figure(metric["chance"])
        table.add_row(name, value, f"{low} to {high}", chance, f"{metric['queries']:,}")
    (console or Console()).print(table)
    excluded = max((metric["excluded"] for metric in metrics.values()), default=0)
    if excluded:
        (console or Console()).print(f"queries without a relevant indexed image, left out: {excluded:,}")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def plain_facts(facts: Mapping[str, Any]) -> str:
    """Format nested facts as aligned `name  value` lines, with dotted names and list items numbered from 1."""
    rows = list(_flatten(facts))
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(_printable(f"{name:<{width}}  {value}") for name, value in rows)


def _flatten(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        if isinstance(value, (list, tuple)):
            value = {str(number): _item(item) for number, item in enumerate(value, start=1)}
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "-" if value is None or value == {} else str(value)


def _item(item: Any) -> str:
    """Format an item of a list on one line."""
    return ", ".join(f"{k} {v}" for k, v in item.items()) if isinstance(item, Mapping) else str(item)


def _printable(line: str) -> str:
    """Replace what names may have and a line of text may not.

    Surrogates stand for bytes of file names that are not UTF-8. Control characters, line breaks and changes of the
    direction of writing could move the cursor or look like another name; they are shown as in a string of Python.
    """
    text = line.encode("utf-8", "replace").decode("utf-8")
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
