"""`vitdsi search`: search an index by photos or by text."""

from __future__ import annotations

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
from vitdsi.cli.opening import current_export
from vitdsi.cli.queries import (
    Searchable,
    expand,
    more_like,
    page_of_results,
    search_files,
    text_answers,
    watched,
    why_nothing,
)
from vitdsi.errors import UsageError

if TYPE_CHECKING:
    from vitdsi.search.options import SearchResult


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
@click.option(
    "--id",
    "like",
    multiple=True,
    metavar="IMAGE_ID",
    help="Find more like this image of the index, without a file; may be repeated.",
)
@click.option(
    "--watch", type=FILE, metavar="DIR", help="Search each photo that appears in DIR, until Ctrl-C."
)
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Results for each query.")
@click.option(
    "--offset",
    type=click.IntRange(min=0),
    help="Leave out this many results before the first one, and say how many images are searched.",
)
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
    "--any-rotation",
    is_flag=True,
    help="Also search for the image turned by 90, 180 and 270 degrees; each costs a pass of the backbone.",
)
@click.option(
    "--verify/--no-verify",
    default=None,
    help="Match keypoints of the images that look most alike; what shares many comes first [on with keypoints].",
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
    like: tuple[str, ...],
    watch: Path | None,
    k: int,
    offset: int | None,
    where: str | None,
    allow_ids: str | None,
    collapse: bool,
    min_score: str | None,
    plain: bool,
    beam_size: int | None,
    rerank: bool | None,
    any_rotation: bool,
    verify: bool | None,
    regions: str,
    region: str | None,
    strict: bool,
    sheet: Path | None,
    folder: Path | None,
    backbone: str | None,
) -> None:
    """Find the indexed images that are relevant to each IMAGE: a file, a folder, or - for an image on stdin.

    With --text, find those that show what a text says. With --id, the query is an image of the index itself, which is
    left out of its results. With --watch, it is each photo that appears in a folder, as soon as it is completely
    written.

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
      vitdsi search photos.dsi --id cats/03.jpg --where 'year = 2019'
      vitdsi search photos.dsi --watch scans --min-score auto
      curl -s https://example.org/cat.jpg | vitdsi search photos.dsi -
      vitdsi search photos.dsi queries --sheet results.html --images photos
    """
    _check(images, texts, like, watch, allow_ids, min_score, sheet, folder)
    allow = None if allow_ids is None else named_lines(allow_ids)
    queries = expand(images) if images else []
    if sheet is not None and any(path is None for _, path in queries):
        raise UsageError("--sheet shows files and cannot show stdin; save the image and give its path")

    from vitdsi.cli.terminal import json_results, plain_results
    from vitdsi.photos.regions import Region
    from vitdsi.search.options import SearchOptions

    # An export holds what a search by photos needs, but neither facts, nor thumbnails, nor the reader of texts.
    beyond = texts or like or where or collapse or any_rotation or offset is not None or backbone
    exported = None if beyond else current_export(index)
    loaded = None
    if exported is not None:
        threshold = exported.min_score
    else:
        from vitdsi.index import ImageIndex

        loaded = ImageIndex.load(index, backbone=backbone)
        threshold = loaded.report_.calibration.min_score
    options = SearchOptions(
        k,
        where=where,
        allow=allow,
        collapse=collapse,
        min_score=_min_score(threshold, min_score),
        beam_size=beam_size,
        rerank=rerank,
        offset=offset or 0,
        any_rotation=any_rotation,
        verify=verify,
        regions=_regions(regions),
        region=None if region is None else Region.parse(region),
    )
    answered: list[tuple[Path | str, list[SearchResult]]] = []
    count = found = 0
    searched: Searchable = loaded or exported  # type: ignore[assignment]  # one of them is there
    everything = [
        search_files(searched, queries, strict, options),
        watched(searched, watch, strict, options),
    ]
    if loaded is not None:
        if offset is not None:
            say(page_of_results(loaded, options))
        everything.insert(0, more_like(loaded, like, options, folder))
        everything.insert(2, text_answers(loaded, texts, options))
    for name, shown, results in chain.from_iterable(everything):
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
        say(f"note: nothing can be found in {index}: {why_nothing(options)}")
    if sheet is not None and folder is not None:
        from vitdsi.cli.contact_sheet import row_of, write_contact_sheet

        rows = [row_of(query, results, folder) for query, results in answered]
        write_contact_sheet(sheet, rows, title=f"{index.name}: search results")
    asked = len(like) + len(queries) + len(texts)
    if count < asked:
        say(f"skipped {asked - count} of {asked} images")
        ctx.exit(1)


def _regions(regions: str) -> int | None:
    """Return the number of regions that --regions stands for, None for auto."""
    if regions == "auto":
        return None
    from vitdsi.photos.regions import MAX_PARTS

    try:
        return int(regions)
    except ValueError:
        raise UsageError(f"--regions {regions}: give a number from 1 to {MAX_PARTS}, or auto") from None


def _check(
    images: tuple[str, ...],
    texts: tuple[str, ...],
    like: tuple[str, ...],
    watch: Path | None,
    allow_ids: str | None,
    min_score: str | None,
    sheet: Path | None,
    folder: Path | None,
) -> None:
    """Raise UsageError for arguments that do not go together, before anything is loaded."""
    if not images and not texts and not like and watch is None:
        raise UsageError(
            "there is nothing to search for; give an IMAGE, --text TEXT, --id IMAGE_ID or --watch DIR"
        )
    if sheet is not None and watch is not None:
        raise UsageError("--sheet is written at the end, but --watch has none; leave out one of them")
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


def _min_score(threshold: float | None, min_score: str | None) -> float:
    """Return the score that --min-score stands for, where auto is the threshold of the index."""
    if min_score is None:
        return 0.0
    try:
        number = float((threshold or 0.0) if min_score == "auto" else min_score)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise UsageError(f"--min-score {min_score}: give a number between 0 and 1, or auto")
    return number
