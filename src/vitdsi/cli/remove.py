"""`vitdsi remove`: remove images from an index."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vitdsi.cli.changing import changing
from vitdsi.cli.common import INDEX_ARGUMENT, debug_option, named_lines, say
from vitdsi.errors import UsageError


@click.command("remove", short_help="Remove images from an index.")
@INDEX_ARGUMENT
@click.argument("image_ids", nargs=-1, metavar="[ID]...")
@click.option("--from-file", metavar="FILE", help="Read IDs from FILE, one per line; - is stdin.")
@debug_option
def remove_verb(index: Path, image_ids: tuple[str, ...], from_file: str | None) -> None:
    """Remove images from INDEX.dsi, by image_id or by number. The photos themselves are not deleted.

    \b
    Examples:
      vitdsi remove photos.dsi cats/03.jpg 417
      vitdsi remove photos.dsi --from-file gone.txt
      vitdsi search photos.dsi bad.jpg -k 50 | jq -r .image_id | vitdsi remove photos.dsi --from-file -
    """
    wanted = list(image_ids)
    if from_file is not None:
        wanted += named_lines(from_file)
    if not wanted:
        raise UsageError("no image was named; give image_ids, numbers, or --from-file FILE")
    with changing(index) as opened:
        before = len(opened.trie_.live_ids())
        opened.remove(wanted)
    count = len(opened.trie_.live_ids())
    say(f"removed {before - count} of {before} images from {index}")
    click.echo(json.dumps({"index": str(index), "removed": before - count, "images": count}))
