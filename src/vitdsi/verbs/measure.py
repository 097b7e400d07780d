"""`vitdsi evaluate` and `vitdsi info`: how good an index is, and what it holds."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import click

from vitdsi.command import check_writable, debug_option, say

_PATH = click.Path(path_type=Path)


@click.command("evaluate", short_help="Measure how good an index is.")
@click.argument("index", type=_PATH, metavar="INDEX.dsi")
@click.argument("queries", type=_PATH, required=False)
@click.option(
    "--labels",
    type=click.Choice(["folder"]),
    default="folder",
    show_default=True,
    help="folder: relevant is what has the same first sub-folder.",
)
@click.option(
    "--outside",
    type=_PATH,
    metavar="DIR",
    help="Photos never indexed: how well are they told from altered copies?",
)
@click.option("--beam-size", type=click.IntRange(min=1), help="Width of the beam search.")
@click.option("--json", "report", type=_PATH, metavar="FILE", help="Also write the figures to a JSON file.")
@debug_option
def evaluate_verb(
    index: Path,
    queries: Path | None,
    labels: str,
    outside: Path | None,
    beam_size: int | None,
    report: Path | None,
) -> None:
    """Measure INDEX.dsi with the photos below QUERIES, which must not be among those it was trained with.

    IA@K is the share of its own images that it finds within the first K. With --outside, AUROC is the chance that an
    altered copy of one of its images, held out when it was built, scores higher than a photo from DIR.

    \b
    Examples:
      vitdsi evaluate classes.dsi test-classes --labels folder
      vitdsi evaluate classes.dsi test-classes --labels folder --json report.json
      vitdsi evaluate photos.dsi --outside other-photos
    """
    if report is not None:
        check_writable(report)

    from vitdsi.features import default_cache
    from vitdsi.index import ImageIndex
    from vitdsi.terminal import BuildDisplay, print_metrics

    opened = ImageIndex.load(index, cache=default_cache())
    with contextlib.closing(BuildDisplay()) as display:
        measured = opened.evaluate(queries, outside=outside, beam_size=beam_size, on_progress=display)
    metrics = {name: metric.as_dict() for name, metric in measured.items()}
    print_metrics(metrics)
    if "IA@1" not in metrics:
        say("note: the tokens were dropped, and IA@1 and IA@5 are measured with them")
    if report is not None:
        from vitdsi.files import write_atomically

        # IA@K counts the indexed images, which are not the user's queries
        counted = metrics.get("MAP@10", {"queries": 0, "excluded": 0})
        content = {
            "metrics": {name: {k: m[k] for k in ("value", "chance", "ci95")} for name, m in metrics.items()},
            "queries": counted["queries"],
            "excluded": counted["excluded"],
        }
        with write_atomically(report) as stream:
            stream.write((json.dumps(content, indent=2) + "\n").encode())


@click.command("info", short_help="Say what an index holds.")
@click.argument("index", type=_PATH, metavar="INDEX.dsi")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of lines for reading.")
@debug_option
def info_verb(index: Path, as_json: bool) -> None:
    """Say what INDEX.dsi holds and how it was made.

    \b
    Examples:
      vitdsi info photos.dsi
      vitdsi info photos.dsi --json | jq .bytes
    """
    from vitdsi.index import ImageIndex

    facts = ImageIndex.load(index).info()
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        from vitdsi.terminal import plain_facts

        click.echo(plain_facts(facts))
