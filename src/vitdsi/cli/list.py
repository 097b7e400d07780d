"""`vitdsi list`: list the images of an index."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vitdsi.cli.common import INDEX_ARGUMENT, debug_option, say


@click.command("list", short_help="List the images of an index.")
@INDEX_ARGUMENT
@click.option("--where", metavar="CONDITION", help="List only images for which this holds.")
@click.option(
    "--offset",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Leave out this many images first.",
)
@click.option("--limit", type=click.IntRange(min=0), help="List at most this many images [all].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines with all facts instead of image_ids.")
@debug_option
def list_verb(index: Path, where: str | None, offset: int, limit: int | None, as_json: bool) -> None:
    """List the images of INDEX.dsi that pass a filter, in the order in which they were added, one a line.

    How many images pass the filter is said on stderr. With --json, each line has the image_id, id, label and facts.

    \b
    Examples:
      vitdsi list photos.dsi --limit 20
      vitdsi list photos.dsi --where 'year = 2019' --json
      vitdsi list photos.dsi --where 'album = "work"' | vitdsi remove photos.dsi --from-file -
    """
    from vitdsi.index import ImageIndex

    page = ImageIndex.load(index).images(where, offset=offset, limit=limit)
    for image in page.images:
        if as_json:
            row = {"image_id": image.image_id, "id": image.id, "label": image.label, "facts": image.facts}
            click.echo(json.dumps(row))
        else:
            click.echo(image.image_id.encode("utf-8", "surrogateescape"))
    shown = f"{offset + 1} to {offset + len(page.images)}" if page.images else "none"
    say(f"images: {shown} of {page.total}")
