"""`vitdsi duplicates`: images that show the same picture, which of them to keep, and what a new folder adds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vitdsi.cli.changing import changing
from vitdsi.cli.common import FILE, INDEX_ARGUMENT, debug_option, say
from vitdsi.errors import UsageError

if TYPE_CHECKING:
    from vitdsi.cli.moving import Move
    from vitdsi.collection.held import ComparedPhoto
    from vitdsi.index import ImageIndex


@click.command("duplicates", short_help="Group the images that show the same picture.")
@INDEX_ARGUMENT
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1.2),
    help="Least similarity of two images of a group, up to 1.2 [1.04].",
)
@click.option("--plain", is_flag=True, help="Print readable text instead of JSON lines.")
@click.option(
    "--keep",
    type=click.Choice(["best"]),
    help="Say which image of each group to keep, and why: most pixels, least compressed, oldest.",
)
@click.option(
    "--against",
    type=FILE,
    metavar="DIR",
    help="Compare the photos of this folder with the index instead: which of them does it hold already?",
)
@click.option(
    "--move-to",
    type=FILE,
    metavar="DIR",
    help="Say which photos would move to DIR: all but the kept one, or with --against those that the index holds.",
)
@click.option(
    "--images",
    "folder",
    type=FILE,
    metavar="DIR",
    help="The folder that was indexed, from which photos move.",
)
@click.option("--apply", "do_it", is_flag=True, help="Move them. Nothing is deleted or overwritten.")
@click.option(
    "--undo",
    type=FILE,
    metavar="FILE",
    help="Move everything back that is in this list, and do nothing else.",
)
@click.option(
    "--keep-both",
    nargs=2,
    multiple=True,
    metavar="ID ID",
    help="Keep both images, and never report them again; may be repeated.",
)
@click.option(
    "--decide-again",
    nargs=2,
    multiple=True,
    metavar="ID ID",
    help="Forget such a decision; may be repeated.",
)
@debug_option
@click.pass_context
def duplicates_verb(
    ctx: click.Context,
    index: Path,
    threshold: float | None,
    plain: bool,
    keep: str | None,
    against: Path | None,
    move_to: Path | None,
    folder: Path | None,
    do_it: bool,
    undo: Path | None,
    keep_both: tuple[tuple[str, str], ...],
    decide_again: tuple[tuple[str, str], ...],
) -> None:
    """Group the images of INDEX.dsi that show the same picture: crops, mirrored or turned ones, other qualities.

    Prints one JSON line for each group. With --against, it is one for each photo of the folder: file, image_ids (the
    images that show the same picture) and same_bytes (how many of these are the same file). With --move-to, it is one
    for each photo that would move.

    \b
    Examples:
      vitdsi duplicates photos.dsi --plain --keep best
      vitdsi duplicates photos.dsi --keep best --images photos --move-to spare
      vitdsi duplicates photos.dsi --keep best --images photos --move-to spare --apply
      vitdsi duplicates photos.dsi --undo spare/moved-2026-11-27-180000.jsonl
      vitdsi duplicates photos.dsi --against card --plain
      vitdsi duplicates photos.dsi --keep-both cats/03.jpg cats/04.jpg
    """
    if undo is not None:
        from vitdsi.cli.moving import undo as move_back

        back, failed = move_back(undo)
        say(f"photos moved back: {back}")
        ctx.exit(1 if failed else 0)
    if keep_both or decide_again:
        _decide(index, keep_both, decide_again)
        return
    _check(keep, against, move_to, folder, do_it)

    from vitdsi.index import ImageIndex
    from vitdsi.search.similarity import NEAR_IDENTICAL_SIMILARITY

    opened = ImageIndex.load(index)
    least = NEAR_IDENTICAL_SIMILARITY if threshold is None else threshold
    if against is not None:
        skipped = _against(opened, against, least, move_to, folder, plain, do_it)
        ctx.exit(1 if skipped else 0)
    groups = opened.near_identical(least)
    if move_to is not None and folder is not None:
        _move(list(_moves_of_groups(opened, groups, folder, move_to)), move_to, plain, do_it)
        return
    best = None if keep is None else opened.best_copies(groups)
    for number, image_ids in enumerate(groups, start=1):
        line: dict[str, Any] = {"group": number, "image_ids": image_ids}
        if best is not None:
            line["keep"], line["reason"] = best[number - 1]
        click.echo(_plain_group(line) if plain else json.dumps(line))
    more = sum(len(group) - 1 for group in groups)
    say(f"groups of near-identical images: {len(groups)}; images beyond the first of each: {more}")


def _check(
    keep: str | None, against: Path | None, move_to: Path | None, folder: Path | None, do_it: bool
) -> None:
    """Check which options go together."""
    if do_it and move_to is None:
        raise UsageError("--apply does what --move-to DIR says; give both")
    if against is not None:
        if keep is not None:
            raise UsageError("--keep chooses within the index; with --against, the index keeps what it has")
        if not against.is_dir():
            raise UsageError(f"--against {against}: no such folder; give a folder of photos")
    elif move_to is not None and (keep is None or folder is None):
        raise UsageError("--move-to DIR needs --keep best and --images DIR, the folder that was indexed")
    if move_to is not None:
        from vitdsi.cli.moving import check_target

        for source in filter(None, (against, folder)):
            check_target(move_to, source)


def _decide(
    index: Path, keep_both: tuple[tuple[str, str], ...], decide_again: tuple[tuple[str, str], ...]
) -> None:
    with changing(index) as opened:
        for pair in keep_both:
            opened.keep_both(pair)
        for pair in decide_again:
            opened.decide_again(pair)
        decisions = len(opened.state_.decisions)
    click.echo(json.dumps({"index": str(index), "decisions": decisions}))


def _plain_group(line: dict[str, Any]) -> str:
    rows = [
        f"  {image_id}" + (f"  (keep: {line['reason']})" if image_id == line.get("keep") else "")
        for image_id in line["image_ids"]
    ]
    return "\n".join([f"group {line['group']}", *rows])


def _moves_of_groups(
    index: ImageIndex, groups: list[list[str]], folder: Path, target: Path
) -> Iterator[Move]:
    """Yield a move for all but the best image of each group. What must stay is said on stderr."""
    import numpy as np

    from vitdsi.cli.moving import Move, obstacle

    named = [image_id for group in groups for image_id in group]
    ids = np.array(index.state_.live_ids_of(named), dtype=np.int64)
    hashes = dict(zip(named, index.state_.hashes.at(ids), strict=True))
    for image_ids, (kept, reason) in zip(groups, index.best_copies(groups), strict=True):
        problem = obstacle(folder / kept, folder, hashes[kept])
        if problem is not None:
            say(f"not moved: the copies of {kept}: {problem}, so they all stay")
            continue
        for image_id in image_ids:
            source = folder / image_id
            if image_id == kept:
                continue
            problem = obstacle(source, folder, hashes[image_id], kept=folder / kept)
            if problem is None:
                yield Move(image_id, source, target / image_id, kept, reason)
            else:
                say(f"not moved: {source}: {problem}")


def _against(
    index: ImageIndex,
    against: Path,
    threshold: float,
    move_to: Path | None,
    folder: Path | None,
    plain: bool,
    do_it: bool,
) -> int:
    """Compare the photos of a folder with the index; return how many of them cannot be read."""
    from vitdsi.cli.terminal import problems

    photos, skipped = index.compare(against, threshold)
    held = [photo for photo in photos if photo.copies]
    if move_to is not None:
        _move(list(_moves_of_held(held, against, folder, move_to)), move_to, plain, do_it)
    else:
        for photo in photos:
            name = f"{str(against).rstrip('/')}/{photo.image_id}"
            if plain:
                click.echo(f"{name}\n  {', '.join(photo.copies) or '(new)'}")
            else:
                line = {"file": name, "image_ids": photo.copies, "same_bytes": photo.same_bytes}
                click.echo(json.dumps(line))
    for text in problems(skipped):
        say(text)
    say(f"photos: {len(photos)}; held by the index already: {len(held)}; new: {len(photos) - len(held)}")
    return len(skipped)


def _moves_of_held(
    held: list[ComparedPhoto], against: Path, folder: Path | None, target: Path
) -> Iterator[Move]:
    """Yield a move for each photo that the index holds. What must stay is said on stderr."""
    from vitdsi.cli.moving import Move, obstacle

    for photo in held:
        source, kept = against / photo.image_id, photo.copies[0]
        problem = obstacle(source, against)
        if problem is None and folder is not None:
            is_there = (folder / kept).is_file()
            problem = (
                obstacle(source, against, kept=folder / kept) if is_there else f"{folder / kept} is missing"
            )
        if problem is None:
            reason = "the same bytes" if photo.same_bytes else "the same picture"
            yield Move(photo.image_id, source, target / photo.image_id, kept, reason)
        else:
            say(f"not moved: {source}: {problem}")


def _move(moves: list[Move], target: Path, plain: bool, do_it: bool) -> None:
    """Print moves, and do them if that was asked for."""
    from vitdsi.cli.moving import apply

    for move in moves:
        shown = f"{move.source} -> {move.target}\n  kept: {move.kept} ({move.reason})"
        click.echo(shown if plain else move.as_line())
    if not do_it:
        say(f"photos that would move: {len(moves)}; --apply moves them")
        return
    if moves:
        path, moved = apply(moves, target)
        say(f"photos moved: {moved} of {len(moves)}; to move them back: --undo {path}")
    else:
        say("photos moved: 0")
