"""`vitdsi pull`: download an index from the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vitdsi.cli.common import FILE, check_output, debug_option, say


@click.command("pull", short_help="Download an index from the Hugging Face hub.")
@click.argument("repo", metavar="OWNER/NAME")
@click.option(
    "-o", "--output", "out", type=FILE, required=True, metavar="OUT.dsi", help="Folder of the index."
)
@click.option("--revision", metavar="NAME", help="Branch, tag or commit [main].")
@click.option("--force", is_flag=True, help="Replace OUT.dsi if it exists.")
@debug_option
def pull_verb(repo: str, out: Path, revision: str | None, force: bool) -> None:
    """Download the index that was shared as OWNER/NAME on the Hugging Face hub to OUT.dsi.

    Prints one JSON line with a summary.

    \b
    Examples:
      vitdsi pull me/photos -o photos.dsi
      vitdsi pull me/photos -o photos.dsi --revision v1
    """
    check_output(out, replace=force)

    from vitdsi.index import ImageIndex

    opened = ImageIndex.from_pretrained(repo, revision=revision)
    opened.save(out)
    count = len(opened.trie_.live_ids())
    say(f"an index of {count} images: {out}")
    click.echo(json.dumps({"index": str(out), "repository": repo, "images": count}))
