"""`vitdsi search`: search an index by photos or by text."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vitdsi.cli.common import (
    BACKBONE_OPTION,
    FILE,
    INDEX_ARGUMENT,
    check_writable,
    debug_option,
    named_lines,
    say,
)
from vitdsi.errors import ImageReadError, UsageError

if TYPE_CHECKING:
    from vitdsi.cli.contact_sheet import Row
    from vitdsi.index import ImageIndex
    from vitdsi.search.options import SearchOptions, SearchResult

_BATCH = 64


@click.command("search", short_help="Find the images relevant to a photo or a text.")
@INDEX_ARGUMENT
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="TEXT",
    help="Search for this text as well; may be repeated. The backbone must have a tower for text, as CLIP has.",
)
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Results for each query.")
@click.option(
    "--where",
    metavar="CONDITION",
    help="Search only images for which this holds: 'year = 2019 and width > 800'.",
)
@click.option("--allow-ids", metavar="FILE", help="Search only these image_ids, one per line; - is stdin.")
@click.option("--collapse", is_flag=True, help="Leave out results that are near-identical to a better one.")
@click.option(
    "--min-score",
    metavar="NUMBER|auto",
    help="Leave out results below this score; auto: the score that 95 % of held-out views of the collection reach.",
)
@click.option("--plain", is_flag=True, help="Print readable text instead of JSON lines.")
@click.option(
    "--beam-size",
    type=click.IntRange(min=1),
    help="Search with a beam of this width, which is faster and may miss results [off: the search is exact].",
)
@click.option(
    "--rerank/--no-rerank",
    default=None,
    help="Order results by relevance, or by probability alone [by relevance, if embeddings start from features].",
)
@click.option(
    "--verify/--no-verify",
    default=None,
    help="Match keypoints of the first 50 results with the photo, certain results first [on with keypoints].",
)
@click.option(
    "--regions",
    metavar="N|auto",
    default="auto",
    show_default=True,
    help="Read each photo in so many regions, to find things that are a part of it; 1 reads the whole alone.",
)
@click.option(
    "--region",
    metavar="X,Y,W,H",
    help="Search for what this part of the photos shows, in shares of width and height: '0.25,0.25,0.5,0.5'.",
)
@click.option("--strict", is_flag=True, help="Stop at the first image that cannot be read.")
@click.option(
    "--sheet", type=FILE, metavar="FILE.html", help="Also write an HTML contact sheet; needs --images."
)
@click.option(
    "--images", "folder", type=FILE, metavar="DIR", help="The folder that was indexed, for --sheet."
)
@BACKBONE_OPTION
@debug_option
@click.pass_context
def search_verb(
    ctx: click.Context,
    index: Path,
    images: tuple[str, ...],
    texts: tuple[str, ...],
    k: int,
    where: str | None,
    allow_ids: str | None,
    collapse: bool,
    min_score: str | None,
    plain: bool,
    beam_size: int | None,
    rerank: bool | None,
    verify: bool | None,
    regions: str,
    region: str | None,
    strict: bool,
    sheet: Path | None,
    folder: Path | None,
    backbone: str | None,
) -> None:
    """Find the indexed images that are relevant to each IMAGE: a file, a folder, or - for an image on stdin.

    With --text, find those that show what a text says.

    Prints one JSON line for each result, most relevant first: query, rank, image_id, score, log_prob, proven, id,
    region, inliers, certain and outline. The score is the calibrated probability that the result is right: that it
    shows the same picture, or with labels something of the same class, if half of the queries have something right in
    the collection. log_prob is the log-probability of the image in nats, and proven says whether no other image is
    more probable than those that were compared. region is the part of the photo that is most like the image: x, y,
    width and height as shares of the photo's width and height. inliers is the number of keypoints of the image that
    were found in the photo in the same arrangement, or null if the result was not verified; certain says whether
    there are so many that both show the same thing, and outline then has the corners of the image in the photo, as
    shares of its width and height. Images that cannot be read are reported on stderr and skipped, and the exit code
    is then 1.

    \b
    Examples:
      vitdsi search photos.dsi query.jpg
      vitdsi search photos.dsi query.jpg more-queries -k 5 --plain
      vitdsi search photos.dsi --text "a red bus" --text "a dog on a beach"
      vitdsi search photos.dsi query.jpg -k 1 --min-score auto
      vitdsi search photos.dsi query.jpg --region 0.5,0,0.5,1
      vitdsi search photos.dsi query.jpg --where 'album = "2019" and width > 800'
      curl -s https://example.org/cat.jpg | vitdsi search photos.dsi -
      vitdsi search photos.dsi queries --sheet results.html --images photos
    """
    _check(images, texts, allow_ids, min_score, sheet, folder)
    allow = None if allow_ids is None else named_lines(allow_ids)
    queries = _expand(images)
    if sheet is not None and any(path is None for _, path in queries):
        raise UsageError("--sheet shows files and cannot show stdin; save the image and give its path")

    from vitdsi.cli.terminal import json_results, plain_results
    from vitdsi.index import ImageIndex
    from vitdsi.photos.regions import Region
    from vitdsi.search.options import SearchOptions

    opened = ImageIndex.load(index, backbone=backbone)
    options = SearchOptions(
        k,
        where=where,
        allow=allow,
        collapse=collapse,
        min_score=_min_score(opened, min_score),
        beam_size=beam_size,
        rerank=rerank,
        verify=verify,
        regions=_regions(regions),
        region=None if region is None else Region.parse(region),
    )
    answered: list[tuple[Path | str, list[SearchResult]]] = []
    count = found = 0
    found_by_text = ((text, text, opened.search_with([], options, texts=[text])[0]) for text in texts)
    for name, shown, results in chain(_search(opened, queries, strict, options), found_by_text):
        if results is None:
            continue
        text = plain_results(name, results) if plain else json_results(name, results)
        if text:
            click.echo("\n" + text if plain and count else text)
        count += 1
        found += len(results)
        if sheet is not None and shown is not None:
            answered.append((shown, results))
    if count and not found:
        nothing = "its images were all removed"
        if where is not None or allow is not None:
            nothing = "no image passes the filter"
        if options.min_score:
            nothing = f"no result has a score of {options.min_score:.4f} (--min-score)"
        say(f"note: nothing can be found in {index}: {nothing}")
    if sheet is not None and folder is not None:
        from vitdsi.cli.contact_sheet import write_contact_sheet

        rows = [_row(path, results, folder) for path, results in answered]
        write_contact_sheet(sheet, rows, title=f"{index.name}: search results")
    if skipped := len(queries) + len(texts) - count:
        say(f"skipped {skipped} of {len(queries)} images")
        ctx.exit(1)


def _check(
    images: tuple[str, ...],
    texts: tuple[str, ...],
    allow_ids: str | None,
    min_score: str | None,
    sheet: Path | None,
    folder: Path | None,
) -> None:
    """Raise UsageError for arguments that do not go together, before anything is loaded."""
    if not images and not texts:
        raise UsageError("there is nothing to search for; give an IMAGE, or a text with --text")
    if (sheet is None) != (folder is None):
        raise UsageError("--sheet FILE.html and --images DIR belong together; give both or none")
    if sheet is not None:
        check_writable(sheet)
    if folder is not None and not folder.is_dir():
        raise UsageError(f"--images {folder}: no such folder; give the folder that was indexed")
    if allow_ids == "-" and "-" in images:
        raise UsageError("stdin cannot be both the image and --allow-ids; save one of them as a file")
    if texts and min_score is not None:
        raise UsageError(
            "--min-score has no meaning for --text, as scores are calibrated on photos; leave it out"
        )


def _row(query: Path | str, results: list[SearchResult], folder: Path) -> Row:
    """Return a row of the contact sheet, with the proof of the first result drawn in the query."""
    from vitdsi.cli.contact_sheet import Result, Row

    shown = [
        Result(r.image_id, folder / r.image_id, r.score, points=[match[2:] for match in r.matches])
        for r in results
    ]
    first = results[0].matches if results else ()
    outline = (results[0].outline if results else None) or ()
    return Row(query, shown, outline, [match[:2] for match in first])


def _regions(regions: str) -> int | None:
    """Return the number of regions that --regions stands for, None for auto."""
    if regions == "auto":
        return None
    from vitdsi.photos.regions import MAX_PARTS

    try:
        return int(regions)
    except ValueError:
        raise UsageError(f"--regions {regions}: give a number from 1 to {MAX_PARTS}, or auto") from None


def _min_score(index: ImageIndex, min_score: str | None) -> float:
    """Return the score that --min-score stands for."""
    if min_score is None:
        return 0.0
    try:
        number = float((index.report_.calibration.min_score or 0.0) if min_score == "auto" else min_score)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise UsageError(f"--min-score {min_score}: give a number between 0 and 1, or auto")
    return number


def _search(
    index: ImageIndex,
    queries: list[tuple[str, Path | None]],
    strict: bool,
    options: SearchOptions,
) -> Iterator[tuple[str, Path | None, list[SearchResult] | None]]:
    """Yield (name, path, results) for each query in order; results are None if the image cannot be read."""
    for start in range(0, len(queries), _BATCH):
        chunk = queries[start : start + _BATCH]
        sources = [sys.stdin.buffer.read() if path is None else path for _, path in chunk]
        try:
            found = index.search_with(sources, options, batch_size=_BATCH)
            for (name, path), results in zip(chunk, found, strict=True):
                yield name, path, results
        except ImageReadError:
            # This is rare, so the readable images of this batch are searched one by one.
            for (name, path), source in zip(chunk, sources, strict=True):
                try:
                    yield name, path, index.search_with([source], options)[0]
                except ImageReadError as error:
                    if strict:
                        raise ImageReadError(name, error.reason) from error
                    say(f"skipped {name}: {error.reason}")
                    yield name, path, None


def _expand(images: tuple[str, ...]) -> list[tuple[str, Path | None]]:
    """List (name to print, path) of every query; the path is None for stdin."""
    from vitdsi.photos.find import find_images

    queries: list[tuple[str, Path | None]] = []
    for given in images:
        root = Path(given)
        if given == "-":
            queries.append(("-", None))
        elif root.is_dir():
            prefix = given.rstrip("/")
            queries += [(f"{prefix}/{p.relative_to(root).as_posix()}", p) for p in find_images(root)]
        else:
            queries += [(given, path) for path in find_images(root)]
    return queries
