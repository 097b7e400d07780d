"""`vitdsi compact`: drop removed images, and train again if that is worth it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import click

from vitdsi.cli.changing import changing
from vitdsi.cli.common import INDEX_ARGUMENT, debug_option, say


@click.command("compact", short_help="Drop removed images from the files of an index.")
@INDEX_ARGUMENT
@click.option(
    "--retrain/--no-retrain",
    default=None,
    help="Train the model again or not [decided by the measured quality].",
)
@click.option(
    "--drop-features",
    is_flag=True,
    help="Drop stored features and thumbnails: the index gets smaller, and finds no near-identical images.",
)
@click.option(
    "--bytes-per-image",
    type=click.IntRange(min=1),
    metavar="B",
    help="What the index may keep of each image: vector, thumbnail and keypoints [what there is].",
)
@debug_option
def compact_verb(index: Path, retrain: bool | None, drop_features: bool, bytes_per_image: int | None) -> None:
    """Drop removed images from the files of INDEX.dsi, and train the model again if that is worth it.

    \b
    Examples:
      vitdsi compact photos.dsi
      vitdsi compact photos.dsi --retrain
      vitdsi compact photos.dsi --drop-features --no-retrain
      vitdsi compact photos.dsi --bytes-per-image 64
    """
    from vitdsi.backbones.cache import default_cache
    from vitdsi.cli.terminal import BuildDisplay
    from vitdsi.collection.storage import sizes

    with contextlib.closing(BuildDisplay()) as display, changing(index, default_cache()) as opened:
        before, ids = sum(sizes(index).values()), len(opened.image_ids_)
        opened.compact(
            retrain=retrain,
            keep_features=not drop_features,
            bytes_per_image=bytes_per_image,
            on_progress=display,
        )
    after = sum(sizes(index).values())
    count = len(opened.image_ids_)
    retrained = opened.state_.changes[-1].verb == "build"
    done = "the model was trained again" if retrained else "the model was not trained again"
    say(
        f"dropped {ids - count} removed images of {index}; {done}; {before / 1e6:.1f} MB before, {after / 1e6:.1f} now"
    )
    summary = {
        "index": str(index),
        "images": count,
        "dropped": ids - count,
        "retrained": retrained,
        "bytes_before": before,
        "bytes": after,
    }
    click.echo(json.dumps(summary))
