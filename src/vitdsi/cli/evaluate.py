"""`vitdsi evaluate`: measure the quality of an index."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import click

from vitdsi.cli.common import BACKBONE_OPTION, FILE, INDEX_ARGUMENT, check_writable, debug_option, say


@click.command("evaluate", short_help="Measure the quality of an index.")
@INDEX_ARGUMENT
@click.argument("queries", type=FILE, required=False)
@click.option(
    "--labels",
    type=click.Choice(["folder"]),
    expose_value=False,
    help="Has no effect: the first sub-folder of QUERIES is always the class.",
)
@click.option(
    "--outside",
    type=FILE,
    metavar="DIR",
    help="Photos outside the collection, to measure out-of-collection detection.",
)
@click.option("--beam-size", type=click.IntRange(min=1), help="Width of the beam search.")
@click.option("--json", "report", type=FILE, metavar="FILE", help="Also write the metrics to a JSON file.")
@BACKBONE_OPTION
@debug_option
def evaluate_verb(
    index: Path,
    queries: Path | None,
    outside: Path | None,
    beam_size: int | None,
    report: Path | None,
    backbone: str | None,
) -> None:
    """Measure INDEX.dsi with the photos in QUERIES, which must not be among those that it was trained with.

    QUERIES has one folder per class. IA@K is the share of the indexed images that are found within the first K results
    of a search for themselves. With --outside, AUROC is the probability that a view that was held out of training
    scores higher than a photo in DIR, which is altered in the same way if the views are altered copies.

    \b
    Examples:
      vitdsi evaluate classes.dsi test-classes
      vitdsi evaluate classes.dsi test-classes --json report.json
      vitdsi evaluate photos.dsi --outside other-photos
    """
    if report is not None:
        check_writable(report)

    from vitdsi.backbones.cache import default_cache
    from vitdsi.cli.terminal import BuildDisplay, print_metrics
    from vitdsi.index import ImageIndex

    opened = ImageIndex.load(index, cache=default_cache(), backbone=backbone)
    with contextlib.closing(BuildDisplay()) as display:
        measured = opened.evaluate(queries, outside=outside, beam_size=beam_size, on_progress=display)
    metrics = {name: metric.as_dict() for name, metric in measured.items()}
    print_metrics(metrics)
    if "IA@1" not in metrics:
        say("note: IA@1 and IA@5 need the stored features, which this index does not keep")
    if report is not None:
        from vitdsi.files import write_atomically

        # IA@K counts the indexed images, which are not the user's queries.
        counted = metrics.get("MAP@10", {"queries": 0, "excluded": 0})
        content = {
            "metrics": {name: {k: m[k] for k in ("value", "chance", "ci95")} for name, m in metrics.items()},
            "queries": counted["queries"],
            "excluded": counted["excluded"],
        }
        with write_atomically(report) as stream:
            stream.write((json.dumps(content, indent=2) + "\n").encode())
