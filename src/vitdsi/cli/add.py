"""`vitdsi add`: add images to an index."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import click

from vitdsi.cli.changing import changing
from vitdsi.cli.common import (
    BACKBONE_OPTION,
    FILE,
    INDEX_ARGUMENT,
    WORKERS_OPTION,
    debug_option,
    listing_unreadable,
    say,
)
from vitdsi.errors import UsageError


@click.command("add", short_help="Add images to an index.")
@INDEX_ARGUMENT
@click.argument("images", type=FILE)
@click.option(
    "--labels",
    type=click.Choice(["none", "folder"]),
    help="Must be the same as for the index. folder: the first sub-folder is the class.",
)
@click.option(
    "--prefix", default="", metavar="TEXT", help="A text to put before each image_id, such as 2024/."
)
@click.option("--replace", is_flag=True, help="Replace images that have the same image_id and other content.")
@click.option("--metadata", type=FILE, metavar="FILE", help="Facts about the images, as for `vitdsi index`.")
@click.option("--strict", is_flag=True, help="Change nothing if any file cannot be read.")
@click.option("--cache", type=FILE, metavar="DIR", help="Folder of the feature cache [one per user].")
@BACKBONE_OPTION
@WORKERS_OPTION
@debug_option
def add_verb(
    index: Path,
    images: Path,
    labels: str | None,
    prefix: str,
    replace: bool,
    metadata: Path | None,
    strict: bool,
    cache: Path | None,
    backbone: str | None,
    workers: int | None,
) -> None:
    """Add the images in the folder IMAGES and its sub-folders to INDEX.dsi. Existing ids never change.

    Images that the index has with the same image_id and content are left out, so a folder that has grown can be given
    as a whole. Prints one JSON line with a summary.

    \b
    Examples:
      vitdsi add photos.dsi photos
      vitdsi add photos.dsi ~/Downloads/holiday --prefix holiday/
      vitdsi add photos.dsi edited --replace
      vitdsi add photos.dsi new --metadata new.csv
    """
    from vitdsi.backbones.cache import default_cache
    from vitdsi.cli.terminal import BuildDisplay, problems
    from vitdsi.engine.local import LocalEngine
    from vitdsi.facts.sidecar import read_sidecar

    began = time.monotonic()
    facts = None if metadata is None else read_sidecar(metadata)
    with (
        listing_unreadable(),
        contextlib.closing(BuildDisplay()) as display,
        changing(index, cache or default_cache(), backbone, LocalEngine(workers)) as opened,
    ):
        if labels is not None and labels != opened.config.labels:
            raise UsageError(
                f"--labels {labels}: {index} was built with --labels {opened.config.labels}; leave it out"
            )
        before = len(opened.trie_.live_ids())
        result = opened.add(
            images, prefix=prefix, replace=replace, metadata=facts, strict=strict, on_progress=display
        )
    for line in problems(result.skipped, result.duplicates, result.unmatched):
        say(line)
    added, unchanged = len(result.image_ids), result.unchanged
    summary = {
        "index": str(index),
        "added": added,
        "replaced": len(result.replaced),
        "unchanged": unchanged,
        "skipped": len(result.skipped),
        "images": len(opened.trie_.live_ids()),
        "seconds": round(time.monotonic() - began, 2),
    }
    there = f"; {unchanged} were already there" if unchanged else ""
    say(f"added {added} image{'' if added == 1 else 's'} to the {before} of {index}{there}")
    click.echo(json.dumps(summary))
