"""The command line: verbs that call the Python API and print. Heavy imports wait until a verb runs."""

from __future__ import annotations

import click

from vitdsi.command import Verbs, debug_option, print_version
from vitdsi.experiments.command import experiment
from vitdsi.verbs.change import add_verb, compact_verb, duplicates_verb, remove_verb
from vitdsi.verbs.index import index_verb
from vitdsi.verbs.measure import evaluate_verb, info_verb
from vitdsi.verbs.search import search_verb

__all__ = ["cli", "main"]


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Show the version.",
)
@debug_option
def cli() -> None:
    """Image search in which the index is a model: it writes the ids of the images relevant to a photo.

    \b
    Examples:
      vitdsi index photos -o photos.dsi
      vitdsi search photos.dsi query.jpg -k 5 --plain
      vitdsi add photos.dsi photos
      vitdsi evaluate photos.dsi queries --labels folder
      vitdsi info photos.dsi
    """


for verb in (
    index_verb,
    search_verb,
    add_verb,
    remove_verb,
    compact_verb,
    duplicates_verb,
    evaluate_verb,
    info_verb,
    experiment,
):
    cli.add_command(verb)


def main() -> None:
    """Entry point of the `vitdsi` command."""
    cli(prog_name="vitdsi")


if __name__ == "__main__":
    main()
