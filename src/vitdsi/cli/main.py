"""The command `vitdsi`. Each verb is in a file of its own; slow imports wait until a verb runs."""

from __future__ import annotations

from pkgutil import resolve_name

import click

from vitdsi.cli.add import add_verb
from vitdsi.cli.common import Verbs, debug_option, print_version
from vitdsi.cli.compact import compact_verb
from vitdsi.cli.completion import completion_verb
from vitdsi.cli.duplicates import duplicates_verb
from vitdsi.cli.evaluate import evaluate_verb
from vitdsi.cli.export import export_verb
from vitdsi.cli.facets import facets_verb
from vitdsi.cli.index import index_verb
from vitdsi.cli.info import info_verb
from vitdsi.cli.list import list_verb
from vitdsi.cli.pull import pull_verb
from vitdsi.cli.push import push_verb
from vitdsi.cli.remove import remove_verb
from vitdsi.cli.search import search_verb
from vitdsi.cli.serve import serve_verb

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
      vitdsi evaluate photos.dsi queries
      vitdsi info photos.dsi
      vitdsi serve photos.dsi --images photos
    """


for verb in (
    index_verb,
    search_verb,
    add_verb,
    remove_verb,
    compact_verb,
    duplicates_verb,
    list_verb,
    facets_verb,
    evaluate_verb,
    info_verb,
    completion_verb,
    export_verb,
    push_verb,
    pull_verb,
    serve_verb,
    # Imported by name, because the product does not depend on the experiments of the paper.
    resolve_name("vitdsi.paper.command:experiment"),
):
    cli.add_command(verb)


def main() -> None:
    """Entry point of the `vitdsi` command."""
    cli(prog_name="vitdsi")


if __name__ == "__main__":
    main()
