"""The command line: verbs that call the Python API and print. Heavy imports wait until a verb runs."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vitdsi.command import (
    INTERRUPTED,
    Verbs,
    again,
    check_output,
    check_writable,
    debug_option,
    print_version,
    say,
)
from vitdsi.errors import ImageReadError, UsageError, VitdsiError

if TYPE_CHECKING:
    from vitdsi.index import ImageIndex, SearchResult
    from vitdsi.training.loop import Progress

__all__ = ["cli", "main"]

_BATCH = 64
_PATH = click.Path(path_type=Path)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_version,
    help="Show the version.",
)
@debug_option
def cli() -> None:
    """Image search in which the index is a model: it writes the ids of the images relevant to a photo.

    \b
    Examples:
      vitdsi index photos -o photos.dsi
      vitdsi search photos.dsi query.jpg -k 5 --plain
      vitdsi evaluate photos.dsi queries --labels folder
      vitdsi info photos.dsi
    """


@cli.command("index")
@click.argument("images", type=_PATH)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "-o", "--output", "out", type=_PATH, required=True, metavar="OUT.dsi", help="Folder of the new index."
)
@click.option(
    "--labels",
    type=click.Choice(["none", "folder"]),
    help="folder: the first sub-folder is the class [none].",
)
@click.option(
    "--queries", type=_PATH, metavar="DIR", help="Photos to train retrieval with; they are not indexed."
)
@click.option("--ids", metavar="random|clustered|semantic|residual", help="How images get their ids.")
@click.option("--base", type=click.IntRange(min=2), help="Digits are 0 to base - 1.")
@click.option("--seed", type=click.IntRange(min=0), help="One seed gives one result on one machine [0].")
@click.option("--device", metavar="auto|cpu|cuda", help="Where to compute [auto].")
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True), help="Train at most so many epochs.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Train at most so many minutes.")
@click.option("--config", metavar="FILE|NAME", help="YAML file, or the name of a configuration of vitdsi.")
@click.option("--resume", is_flag=True, help="Continue the run that was stopped, given the same arguments.")
@click.option("--strict", is_flag=True, help="Fail on any file that cannot be read, instead of skipping it.")
@click.option("--force", is_flag=True, help="Replace OUT.dsi if it exists.")
@click.option("--cache", type=_PATH, metavar="DIR", help="Folder of the feature cache [per user].")
@click.option("--no-cache", is_flag=True, help="Keep no features on disk.")
@debug_option
@click.pass_context
def index_verb(
    ctx: click.Context,
    images: Path,
    overrides: tuple[str, ...],
    out: Path,
    labels: str | None,
    queries: Path | None,
    ids: str | None,
    base: int | None,
    seed: int | None,
    device: str | None,
    epochs: float | None,
    minutes: float | None,
    config: str | None,
    resume: bool,
    strict: bool,
    force: bool,
    cache: Path | None,
    no_cache: bool,
) -> None:
    """Learn the images below IMAGES and write the index OUT.dsi.

    KEY=VALUE sets any other setting. Defaults are overridden by --config, that by KEY=VALUE, and all of them by
    options such as --seed. Both limits, --epochs and --minutes, hold: training ends at the first one, or by itself
    when it stops improving.

    Prints one JSON line with what came out. Ctrl-C stops; the state is kept in OUT.dsi.training for --resume.

    \b
    Examples:
      vitdsi index photos -o photos.dsi
      vitdsi index classes -o classes.dsi --labels folder --queries more-classes
      vitdsi index photos -o photos.dsi --minutes 10 --ids random --base 10
      vitdsi index photos -o photos.dsi training.batch_size=128 model.depth=2
      vitdsi index photos -o photos.dsi --resume
    """
    for text in overrides:
        if "=" not in text:
            raise UsageError(
                f"{text!r} is one argument too many; give one folder of images, settings as KEY=VALUE"
            )
    if cache is not None and no_cache:
        raise UsageError("--cache and --no-cache contradict each other; give one of them")
    state = out.with_name(f"{out.name}.training")
    check_output(out, replace=resume or force)

    from vitdsi.config import load_config
    from vitdsi.index import ImageIndex, default_cache
    from vitdsi.terminal import BuildDisplay, problems
    from vitdsi.training.checkpoint import has_checkpoint

    stopped = has_checkpoint(state)
    if state.exists() and not stopped:
        raise UsageError(f"{state}: is in the way of the training state; move it, or choose another name")
    if resume and not stopped:
        raise UsageError(f"{state}: there is no stopped run to resume; run without --resume")
    if stopped and not resume:
        say(f"note: {state} is of a stopped run and will be replaced; --resume continues it")
    options = {
        "labels": labels,
        "seed": seed,
        "device": device,
        "ids.scheme": ids,
        "ids.base": base,
        "training.max_epochs": epochs,
        "training.minutes": minutes,
    }
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    settings = load_config(config, [*overrides, *given])
    index = ImageIndex(settings, cache=None if no_cache else cache or default_cache())

    def refuse_skipped() -> None:
        if strict and index.skipped_:
            for line in problems(index.skipped_, []):
                say(line)
            raise VitdsiError(
                f"unreadable files: {len(index.skipped_)}; repair or remove them, or leave out --strict"
            )

    def on_progress(progress: Progress) -> None:
        display(progress)
        refuse_skipped()

    try:
        with contextlib.closing(BuildDisplay()) as display:
            index.fit(images, queries=queries, on_progress=on_progress, state=state, resume=resume)
            refuse_skipped()
            index.save(out)
    except KeyboardInterrupt:
        if has_checkpoint(state):
            say(f"stopped; continue with: {shlex.join(['vitdsi', *again(ctx, extra='--resume')])}")
        else:
            say("stopped before there was anything to resume; run the same command again")
        ctx.exit(INTERRUPTED)
    shutil.rmtree(state, ignore_errors=True)
    for line in problems(index.skipped_, index.duplicates_):
        say(line)
    images_count, accuracy, seconds = len(index.image_ids_), index.report_["IA@1"], index.report_["seconds"]
    summary = {
        "index": str(out),
        "images": images_count,
        "skipped": len(index.skipped_),
        "duplicates": sum(len(group) - 1 for group in index.duplicates_),
        "IA@1": accuracy,
        "seconds": seconds,
    }
    say(f"indexed {images_count} images in {seconds:.1f} s, IA@1 {accuracy:.4f}: {out}")
    click.echo(json.dumps(summary))


@cli.command("search")
@click.argument("index", type=_PATH, metavar="INDEX.dsi")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Results for each image.")
@click.option("--plain", is_flag=True, help="A table for reading, instead of JSON lines.")
@click.option(
    "--beam-size", type=click.IntRange(min=1), help="Width of the beam search; wider is more exact."
)
@click.option("--strict", is_flag=True, help="Stop at the first image that cannot be read.")
@click.option(
    "--sheet", type=_PATH, metavar="FILE.html", help="Also write an HTML contact sheet; needs --images."
)
@click.option(
    "--images", "folder", type=_PATH, metavar="DIR", help="The folder that was indexed, for --sheet."
)
@debug_option
@click.pass_context
def search_verb(
    ctx: click.Context,
    index: Path,
    images: tuple[str, ...],
    k: int,
    plain: bool,
    beam_size: int | None,
    strict: bool,
    sheet: Path | None,
    folder: Path | None,
) -> None:
    """Find the indexed images relevant to each IMAGE: a file, a folder, or - for one image on stdin.

    Prints one JSON line for each result; the score is the model's probability of that image. Images that cannot be
    read are reported on stderr and skipped, and the exit code is then 1.

    \b
    Examples:
      vitdsi search photos.dsi query.jpg
      vitdsi search photos.dsi query.jpg more-queries -k 5 --plain
      curl -s https://example.org/cat.jpg | vitdsi search photos.dsi -
      vitdsi search photos.dsi queries --sheet results.html --images photos
    """
    if (sheet is None) != (folder is None):
        raise UsageError("--sheet FILE.html and --images DIR belong together; give both or none")
    if sheet is not None:
        check_writable(sheet)
    if folder is not None and not folder.is_dir():
        raise UsageError(f"--images {folder}: no such folder; give the folder that was indexed")
    queries = _expand(images)
    if sheet is not None and any(path is None for _, path in queries):
        raise UsageError("--sheet shows files and cannot show stdin; save the image and give its path")

    from vitdsi.index import ImageIndex
    from vitdsi.terminal import json_results, plain_results

    opened = ImageIndex.load(index)
    answered: list[tuple[Path, list[SearchResult]]] = []
    count = 0
    for name, path, results in _search(opened, queries, k, beam_size, strict):
        if results is None:
            continue
        text = plain_results(name, results) if plain else json_results(name, results)
        click.echo("\n" + text if plain and count else text)
        count += 1
        if sheet is not None and path is not None:
            answered.append((path, results))
    if sheet is not None and folder is not None:
        from vitdsi.contact_sheet import Result, Row, write_contact_sheet

        rows = [
            Row(path, [Result(r.image_id, folder / r.image_id, r.score, None) for r in results])
            for path, results in answered
        ]
        write_contact_sheet(sheet, rows, title=f"{index.name}: images and what was found")
    if count < len(queries):
        say(f"skipped {len(queries) - count} of {len(queries)} images")
        ctx.exit(1)


@cli.command("evaluate")
@click.argument("index", type=_PATH, metavar="INDEX.dsi")
@click.argument("queries", type=_PATH)
@click.option(
    "--labels",
    type=click.Choice(["folder"]),
    default="folder",
    show_default=True,
    help="folder: relevant is what has the same first sub-folder.",
)
@click.option("--beam-size", type=click.IntRange(min=1), help="Width of the beam search.")
@click.option("--json", "report", type=_PATH, metavar="FILE", help="Also write the figures to a JSON file.")
@debug_option
def evaluate_verb(
    index: Path, queries: Path, labels: str, beam_size: int | None, report: Path | None
) -> None:
    """Measure INDEX.dsi with the photos below QUERIES, which must not be among those it was trained with.

    \b
    Examples:
      vitdsi evaluate classes.dsi test-classes --labels folder
      vitdsi evaluate classes.dsi test-classes --labels folder --json report.json
    """
    if report is not None:
        check_writable(report)

    from vitdsi.index import ImageIndex
    from vitdsi.terminal import print_metrics

    metrics = {
        name: metric.as_dict()
        for name, metric in ImageIndex.load(index).evaluate(queries, beam_size=beam_size).items()
    }
    print_metrics(metrics)
    if report is not None:
        from vitdsi.files import write_atomically

        # IA@K counts the indexed images, which are not the user's queries.
        counted = metrics["MAP@10"]
        content = {
            "metrics": {name: {k: m[k] for k in ("value", "chance", "ci95")} for name, m in metrics.items()},
            "queries": counted["queries"],
            "excluded": counted["excluded"],
        }
        with write_atomically(report) as stream:
            stream.write((json.dumps(content, indent=2) + "\n").encode())


@cli.command("info")
@click.argument("index", type=_PATH, metavar="INDEX.dsi")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of lines for reading.")
@debug_option
def info_verb(index: Path, as_json: bool) -> None:
    """Say what INDEX.dsi holds and how it was made.

    \b
    Examples:
      vitdsi info photos.dsi
      vitdsi info photos.dsi --json | jq .config
    """
    from vitdsi.index import ImageIndex

    facts = ImageIndex.load(index).info()
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        from vitdsi.terminal import plain_facts

        click.echo(plain_facts(facts))


def main() -> None:
    """Entry point of the `vitdsi` command."""
    cli(prog_name="vitdsi")


def _search(
    index: ImageIndex,
    queries: list[tuple[str, Path | None]],
    k: int,
    beam_size: int | None,
    strict: bool,
) -> Iterator[tuple[str, Path | None, list[SearchResult] | None]]:
    """(name, path, results) for each query in order; results are None where the image cannot be read."""
    for start in range(0, len(queries), _BATCH):
        chunk = queries[start : start + _BATCH]
        sources = [sys.stdin.buffer.read() if path is None else path for _, path in chunk]
        try:
            found = index.search_many(sources, k, beam_size=beam_size, batch_size=_BATCH)
            for (name, path), results in zip(chunk, found, strict=True):
                yield name, path, results
        except ImageReadError:
            # Rare, so the good ones of this batch may go one by one.
            for (name, path), source in zip(chunk, sources, strict=True):
                try:
                    yield name, path, index.search(source, k, beam_size=beam_size)
                except ImageReadError as error:
                    if strict:
                        raise ImageReadError(name, error.reason) from error
                    say(f"skipped {name}: {error.reason}")
                    yield name, path, None


def _expand(images: tuple[str, ...]) -> list[tuple[str, Path | None]]:
    """(name to print, path) of every query; the path is None for stdin."""
    from vitdsi.images import find_images

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


if __name__ == "__main__":
    main()
