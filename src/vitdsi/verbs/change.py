"""`vitdsi add`, `remove`, `compact` and `duplicates`: a collection that lives.

Each change holds the index's write lock from reading to writing, and is written as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vitdsi.command import debug_option, named_lines, refuse, say
from vitdsi.errors import UsageError

if TYPE_CHECKING:
    from vitdsi.index import ImageIndex
    from vitdsi.training.loop import Progress

_PATH = click.Path(path_type=Path)


@contextlib.contextmanager
def _changing(path: Path, cache: Path | None = None) -> Iterator[ImageIndex]:
    """The index, saved when the block ends without an error."""
    from vitdsi.index import ImageIndex
    from vitdsi.storage import writing

    if not (path / "index.json").is_file():
        ImageIndex.load(path)  # says what is wrong; a lock would leave a file there
    with writing(path):
        index = ImageIndex.load(path, cache=cache)
        yield index
        index.save(path)


@click.command("add", short_help="Add images to an index.")
@click.argument("index", type=_PATH, metavar="INDEX.dsi")
@click.argument("images", type=_PATH)
@click.option(
    "--labels",
    type=click.Choice(["none", "folder"]),
    help="As the index was built; folder: the first sub-folder is the class.",
)
@click.option("--prefix", default="", metavar="TEXT", help="Put before each image_id, such as 2024/.")
@click.option("--replace", is_flag=True, help="New content takes the place of an image of the same image_id.")
@click.option("--metadata", type=_PATH, metavar="FILE", help="As for `vitdsi index`.")
@click.option("--strict", is_flag=True, help="Change nothing if any file cannot be read.")
@click.option("--cache", type=_PATH, metavar="DIR", help="Folder of the feature cache [per user].")
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
) -> None:
    """Add the images below IMAGES to INDEX.dsi; no other image gets another id.

    What the index holds already, with the same image_id and the same content, is left out, so a folder that has grown
    can be given as a whole. Prints one JSON line with what was done.

    \b
    Examples:
      vitdsi add photos.dsi photos
      vitdsi add photos.dsi ~/Downloads/holiday --prefix holiday/
      vitdsi add photos.dsi edited --replace
      vitdsi add photos.dsi new --metadata new.csv
    """
    from vitdsi.facts import read_sidecar
    from vitdsi.features import default_cache
    from vitdsi.terminal import BuildDisplay, problems

    began = time.monotonic()
    facts = None if metadata is None else read_sidecar(metadata)
    given = 0

    def on_progress(progress: Progress) -> None:
        nonlocal given
        if progress.phase == "reading":
            given = progress.total or 0
        display(progress)
        refuse_skipped()

    def refuse_skipped() -> None:
        if strict and opened.skipped_:
            refuse(opened.skipped_)

    with contextlib.closing(BuildDisplay()) as display, _changing(index, cache or default_cache()) as opened:
        if labels is not None and labels != opened.config.labels:
            raise UsageError(
                f"--labels {labels}: {index} was built with --labels {opened.config.labels}; leave it out"
            )
        before = len(opened.trie_.live_ids())
        added = opened.add(images, prefix=prefix, replace=replace, metadata=facts, on_progress=on_progress)
        refuse_skipped()
    for line in problems(opened.skipped_, opened.duplicates_, opened.unmatched_):
        say(line)
    count = len(opened.trie_.live_ids())
    unchanged = given - len(opened.skipped_) - len(added)
    summary = {
        "index": str(index),
        "added": len(added),
        "replaced": before + len(added) - count,
        "unchanged": unchanged,
        "skipped": len(opened.skipped_),
        "images": count,
        "seconds": round(time.monotonic() - began, 2),
    }
    there = f"; {unchanged} were there already" if unchanged else ""
    say(f"added {len(added)} image{'' if len(added) == 1 else 's'} to the {before} of {index}{there}")
    click.echo(json.dumps(summary))


@click.command("remove", short_help="Remove images from an index, at once.")
@click.argument("index", type=_PATH, metavar="INDEX.dsi")
@click.argument("image_ids", nargs=-1, metavar="[ID]...")
@click.option("--from-file", metavar="FILE", help="One ID a line; - is stdin.")
@debug_option
def remove_verb(index: Path, image_ids: tuple[str, ...], from_file: str | None) -> None:
    """Remove images from INDEX.dsi, by image_id or by number: at once, and for good. No file is deleted.

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
    with _changing(index) as opened:
        before = len(opened.trie_.live_ids())
        opened.remove(wanted)
    count = len(opened.trie_.live_ids())
    say(f"removed {before - count} of {before} images from {index}")
    click.echo(json.dumps({"index": str(index), "removed": before - count, "images": count}))


@click.command("compact", short_help="Drop what removed images left behind.")
@click.argument("index", type=_PATH, metavar="INDEX.dsi")
@click.option(
    "--retrain/--no-retrain", default=None, help="Learn everything again, or nothing [where it pays]."
)
@click.option("--drop-tokens", is_flag=True, help="A smaller index, to which additions cost quality.")
@debug_option
def compact_verb(index: Path, retrain: bool | None, drop_tokens: bool) -> None:
    """Drop what removed images left in INDEX.dsi, and learn again what deserves it.

    \b
    Examples:
      vitdsi compact photos.dsi
      vitdsi compact photos.dsi --retrain
      vitdsi compact photos.dsi --drop-tokens --no-retrain
    """
    from vitdsi.storage import sizes
    from vitdsi.terminal import BuildDisplay

    with contextlib.closing(BuildDisplay()) as display, _changing(index) as opened:
        before, ids = sum(sizes(index).values()), len(opened.image_ids_)
        opened.compact(retrain=retrain, keep_tokens=not drop_tokens, on_progress=display)
    after = sum(sizes(index).values())
    count = len(opened.image_ids_)
    retrained = opened.stored_.changes[-1]["verb"] == "build"
    done = "everything was learned again" if retrained else "nothing was learned again"
    say(
        f"dropped {ids - count} removed images of {index}; {done}; {before / 1e6:.1f} MB before, {after / 1e6:.1f} now"
    )
    click.echo(
        json.dumps(
            {
                "index": str(index),
                "images": count,
                "dropped": ids - count,
                "retrained": retrained,
                "bytes_before": before,
                "bytes": after,
            }
        )
    )


@click.command("duplicates", short_help="Group the images that show the same picture.")
@click.argument("index", type=_PATH, metavar="INDEX.dsi")
@click.option("--threshold", type=click.FloatRange(0, 1.2), help="Similarity, of at most 1.2 [1.04].")
@click.option("--plain", is_flag=True, help="Lines for reading, instead of JSON lines.")
@debug_option
def duplicates_verb(index: Path, threshold: float | None, plain: bool) -> None:
    """Group the images of INDEX.dsi that show the same picture: crops, mirror images, other colours or qualities.

    \b
    Examples:
      vitdsi duplicates photos.dsi --plain
      vitdsi duplicates photos.dsi | jq -r '.image_ids[1:][]' | vitdsi remove photos.dsi --from-file -
    """
    from vitdsi.duplicates import NEAR_IDENTICAL
    from vitdsi.index import ImageIndex

    groups = ImageIndex.load(index).near_identical(NEAR_IDENTICAL if threshold is None else threshold)
    for number, image_ids in enumerate(groups, start=1):
        if plain:
            click.echo("\n".join([f"group {number}", *(f"  {image_id}" for image_id in image_ids)]))
        else:
            click.echo(json.dumps({"group": number, "image_ids": image_ids}))
    more = sum(len(group) - 1 for group in groups)
    say(f"groups of near-identical images: {len(groups)}; images beyond the first of each: {more}")
