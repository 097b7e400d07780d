"""`vitdsi index`: build an index."""

from __future__ import annotations

import contextlib
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vitdsi.cli.common import (
    FILE,
    INTERRUPTED,
    WORKERS_OPTION,
    again,
    check_output,
    debug_option,
    listing_unreadable,
    say,
)
from vitdsi.cli.engines import engine_for, engine_options
from vitdsi.errors import IndexFormatError, UsageError

if TYPE_CHECKING:
    from vitdsi.index import ImageIndex


@click.command("index", short_help="Build an index of a folder of images.")
@click.argument("images", type=FILE)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "-o", "--output", "out", type=FILE, required=True, metavar="OUT.dsi", help="Folder of the new index."
)
@click.option(
    "--labels",
    type=click.Choice(["none", "folder"]),
    help="folder: the first sub-folder of an image is its class [none].",
)
@click.option(
    "--queries", type=FILE, metavar="DIR", help="Further photos that train retrieval; they are not indexed."
)
@click.option(
    "--metadata",
    type=FILE,
    metavar="FILE",
    help="CSV, TSV, JSON, JSONL or Parquet table of facts for `search --where`.",
)
@click.option(
    "--backbone",
    metavar="NAME|DIR",
    help="Frozen network that reads the photos: efficientnet-lite0, or a vision model of transformers by its name on"
    " the hub or its folder [efficientnet-lite0].",
)
@click.option("--ids", metavar="SCHEME", help="Id scheme: semantic, random or clustered [semantic].")
@click.option("--base", type=click.IntRange(min=2), help="Base of the ids: digits are 0 to base - 1.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Random seed; a seed gives the same result on the same machine [0].",
)
@click.option("--device", metavar="auto|cpu|cuda", help="Device to compute on [auto].")
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True), help="Limit of training in epochs.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Limit of training in minutes.")
@click.option("--config", metavar="FILE|NAME", help="YAML file, or default, paper or paper_ours.")
@click.option(
    "--keep-features/--drop-features",
    default=None,
    help="Keep the features of the images in the index [only if the feature cache does not have them].",
)
@click.option(
    "--bytes-per-image",
    type=click.IntRange(min=1),
    metavar="B",
    help="What the index may keep of each image: vector, thumbnail and keypoints [about 6,500].",
)
@click.option(
    "--size",
    type=click.Choice(["small", "standard", "exact"]),
    help="small: 64 bytes an image; exact: vectors of floats, and the features of the images [standard].",
)
@click.option(
    "--robust",
    type=click.IntRange(min=0),
    metavar="N",
    help="Hard views of each image to learn from, so that photos of it are recognised; 0 for none [3].",
)
@click.option(
    "--no-keypoints",
    is_flag=True,
    help="Keep no keypoints, by which searches verify their results. The index is then much smaller.",
)
@click.option("--resume", is_flag=True, help="Continue a stopped run that had the same arguments.")
@click.option("--strict", is_flag=True, help="Fail if any file cannot be read, instead of skipping it.")
@click.option("--force", is_flag=True, help="Replace OUT.dsi if it exists.")
@click.option("--cache", type=FILE, metavar="DIR", help="Folder of the feature cache [per user].")
@click.option("--no-cache", is_flag=True, help="Do not cache features; one process then reads all photos.")
@WORKERS_OPTION
@engine_options
@debug_option
@click.pass_context
def index_verb(
    ctx: click.Context,
    images: Path,
    overrides: tuple[str, ...],
    out: Path,
    labels: str | None,
    queries: Path | None,
    metadata: Path | None,
    backbone: str | None,
    ids: str | None,
    base: int | None,
    seed: int | None,
    device: str | None,
    epochs: float | None,
    minutes: float | None,
    config: str | None,
    keep_features: bool | None,
    bytes_per_image: int | None,
    size: str | None,
    robust: int | None,
    no_keypoints: bool,
    resume: bool,
    strict: bool,
    force: bool,
    cache: Path | None,
    no_cache: bool,
    workers: int | None,
    engine: str,
    address: str | None,
) -> None:
    """Build the index OUT.dsi of all images in the folder IMAGES and its sub-folders.

    KEY=VALUE changes any setting. Settings of --config override the defaults, KEY=VALUE overrides --config, and options
    such as --seed override both. Training ends when it no longer improves, or at the limit of --epochs or --minutes,
    whichever comes first.

    Under torchrun, each of its processes reads and trains its share, and the first one writes the index. Prints one
    JSON line with a summary. Ctrl-C stops the run and keeps its state in OUT.dsi.training for --resume.

    \b
    Examples:
      vitdsi index photos -o photos.dsi
      vitdsi index classes -o classes.dsi --labels folder --queries more-classes
      vitdsi index photos -o photos.dsi --minutes 10 --ids random --base 10
      vitdsi index photos -o photos.dsi training.batch_size=128 model.depth=2
      vitdsi index photos -o photos.dsi --metadata albums.csv
      vitdsi index photos -o photos.dsi --backbone facebook/dinov2-small
      vitdsi index photos -o photos.dsi --size small
      vitdsi index photos -o photos.dsi --workers 4
      vitdsi index photos -o photos.dsi --engine ray --address auto
      torchrun --nproc-per-node 2 -m vitdsi index photos -o photos.dsi
      vitdsi index photos -o photos.dsi --resume
    """
    from vitdsi.engine.torchrun import follow, is_follower

    if is_follower():
        follow()
        return
    _check_arguments(overrides, cache, no_cache, size, bytes_per_image)
    if keep_features is None and (bytes_per_image is not None or size in ("small", "exact")):
        keep_features = size == "exact"
    state = out.with_name(f"{out.name}.training")
    check_output(out, replace=resume or force)

    from vitdsi.backbones.cache import default_cache
    from vitdsi.cli.terminal import BuildDisplay, problems
    from vitdsi.config import load_config
    from vitdsi.config.budget import SMALL, budget_of
    from vitdsi.facts.sidecar import read_sidecar
    from vitdsi.files import delete_folder
    from vitdsi.index import ImageIndex
    from vitdsi.training.checkpoint import has_checkpoint

    stopped = has_checkpoint(state)
    if state.exists() and not stopped:
        raise UsageError(f"{state}: exists and is not a training state; move it, or choose another name")
    if resume and not stopped:
        raise UsageError(f"{state}: there is no stopped run to resume; run without --resume")
    if stopped and not resume:
        say(f"note: {state} belongs to a stopped run and will be replaced; --resume continues that run")
    options: dict[str, object] = {
        "labels": labels,
        "seed": seed,
        "device": device,
        "model.backbone": backbone
        and (str(Path(backbone).resolve()) if Path(backbone).is_dir() else backbone),
        "ids.scheme": ids,
        "ids.base": base,
        "training.max_epochs": epochs,
        "training.paper.retrieval_epochs": epochs,
        "training.minutes": minutes,
        "training.hard_views": robust,
    }
    if size == "exact":
        options["vector_bytes"] = "null"
    elif size == "small" or bytes_per_image is not None:
        options |= budget_of(bytes_per_image or SMALL).as_settings()
    if no_keypoints:
        options["keypoints"] = 0
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    settings = load_config(config, [*overrides, *given])
    facts = (
        None if metadata is None else read_sidecar(metadata)
    )  # raises its errors before the images are read
    runs_on = engine_for(engine, workers, address)
    index = ImageIndex(settings, cache=None if no_cache else cache or default_cache(), engine=runs_on)

    try:
        with listing_unreadable(), contextlib.closing(BuildDisplay()) as display:
            index.fit(
                images,
                queries=queries,
                metadata=facts,
                keep_features=keep_features,
                strict=strict,
                on_progress=display,
                checkpoint=state,
                resume=resume,
            )
            _save(index, out)
            runs_on.close()
    except KeyboardInterrupt:
        if has_checkpoint(state):
            say(f"stopped; continue with: {shlex.join(['vitdsi', *again(ctx, extra='--resume')])}")
        else:
            say("stopped before there was anything to resume; run the same command again")
        ctx.exit(INTERRUPTED)
    delete_folder(state)
    report = index.report_
    for line in problems(report.skipped, report.duplicates, report.unmatched):
        say(line)
    summary = {
        "index": str(out),
        "images": report.images,
        "skipped": len(report.skipped),
        "duplicates": sum(len(group) - 1 for group in report.duplicates),
        "IA@1": report.indexing_accuracy,
        "seconds": report.seconds,
    }
    say(
        f"indexed {report.images} images in {report.seconds:.1f} s, IA@1 {report.indexing_accuracy:.4f}: {out}"
    )
    click.echo(json.dumps(summary))


def _check_arguments(
    overrides: tuple[str, ...],
    cache: Path | None,
    no_cache: bool,
    size: str | None,
    bytes_per_image: int | None,
) -> None:
    """Raise UsageError for a setting without a value, and for options that contradict each other."""
    for text in overrides:
        if "=" not in text:
            raise UsageError(
                f"{text!r} is one argument too many; give one folder of images, and settings as KEY=VALUE"
            )
    if cache is not None and no_cache:
        raise UsageError("--cache and --no-cache contradict each other; give one of them")
    if size is not None and bytes_per_image is not None:
        raise UsageError("--size and --bytes-per-image contradict each other; give one of them")


def _save(index: ImageIndex, out: Path) -> None:
    """Save an index. The decisions about copies of one that it replaces, which may be broken, are taken over."""
    if not out.exists():
        index.save(out)
        return
    from vitdsi.collection.storage import write_lock

    with write_lock(out):
        try:
            index.keep_decisions_of(out)
        except IndexFormatError as error:
            say(f"note: decisions to keep copies are lost: {error}")
        index.save(out)
