"""`vitdsi duplicates`: group the images that show the same picture."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vitdsi.cli.common import INDEX_ARGUMENT, debug_option, say


@click.command("duplicates", short_help="Group the images that show the same picture.")
@INDEX_ARGUMENT
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1.2),
    help="Least similarity of two images of a group, up to 1.2 [1.04].",
)
@click.option("--plain", is_flag=True, help="Print readable text instead of JSON lines.")
@debug_option
def duplicates_verb(index: Path, threshold: float | None, plain: bool) -> None:
    """Group the images of INDEX.dsi that show the same picture: crops, mirror images, other colours or qualities.

    \b
    Examples:
      vitdsi duplicates photos.dsi --plain
      vitdsi duplicates photos.dsi | jq -r '.image_ids[1:][]' | vitdsi remove photos.dsi --from-file -
    """
    from vitdsi.index import ImageIndex
    from vitdsi.search.similarity import NEAR_IDENTICAL_SIMILARITY

    groups = ImageIndex.load(index).near_identical(
        NEAR_IDENTICAL_SIMILARITY if threshold is None else threshold
    )
    for number, image_ids in enumerate(groups, start=1):
        if plain:
            click.echo("\n".join([f"group {number}", *(f"  {image_id}" for image_id in image_ids)]))
        else:
            click.echo(json.dumps({"group": number, "image_ids": image_ids}))
    more = sum(len(group) - 1 for group in groups)
    say(f"groups of near-identical images: {len(groups)}; images beyond the first of each: {more}")
