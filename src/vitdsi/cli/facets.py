"""`vitdsi facets`: count the values of metadata under a filter."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vitdsi.cli.common import INDEX_ARGUMENT, debug_option, say


@click.command("facets", short_help="Count the values of metadata under a filter.")
@INDEX_ARGUMENT
@click.option(
    "--by", metavar="COLUMN,...", help="Columns to count [all that have at most 50 different values]."
)
@click.option("--where", metavar="CONDITION", help="Count only images for which this holds.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Values of each column, most frequent first.",
)
@click.option("--plain", is_flag=True, help="Print readable text instead of JSON lines.")
@debug_option
def facets_verb(index: Path, by: str | None, where: str | None, limit: int, plain: bool) -> None:
    """Count which values the metadata of INDEX.dsi has, and how many images have each.

    Prints one JSON line for each column: column, values (pairs of a value and its number of images), distinct (how many
    different values there are) and missing (how many images have none).

    \b
    Examples:
      vitdsi facets photos.dsi --plain
      vitdsi facets photos.dsi --by camera,year --where 'width > 3000'
    """
    from vitdsi.index import ImageIndex

    opened = ImageIndex.load(index)
    columns = None if by is None else [name.strip() for name in by.split(",") if name.strip()]
    for facet in opened.facets(columns, where=where, limit=limit):
        if plain:
            shown = [f"  {count:>7}  {value}" for value, count in facet.values]
            rest = facet.distinct - len(facet.values)
            shown += [f"           and {rest} more values"] if rest else []
            shown += [f"  {facet.missing:>7}  (no value)"] if facet.missing else []
            click.echo("\n".join([facet.column, *shown]))
        else:
            values = [list(pair) for pair in facet.values]
            line = {"column": facet.column, "values": values, "distinct": facet.distinct}
            click.echo(json.dumps({**line, "missing": facet.missing}))
    say(f"images: {opened.images(where, limit=0).total}")
