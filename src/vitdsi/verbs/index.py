"""`vitdsi index`: learn a collection."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vitdsi.command import INTERRUPTED, again, check_output, debug_option, refuse, say
from vitdsi.errors import UsageError

if TYPE_CHECKING:
    from vitdsi.training.loop import Progress

_PATH = click.Path(path_type=Path)


@click.command("index", short_help="Learn a folder of images.")
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
@click.option(
    "--metadata",
    type=_PATH,
    metavar="FILE",
    help="CSV, TSV, JSON, JSONL or Parquet: what `search --where` asks about.",
)
@click.option("--ids", metavar="random|clustered|semantic|residual", help="How images get their ids.")
@click.option("--base", type=click.IntRange(min=2), help="Digits are 0 to base - 1.")
@click.option("--seed", type=click.IntRange(min=0), help="One seed gives one result on one machine [0].")
@click.option("--device", metavar="auto|cpu|cuda", help="Where to compute [auto].")
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True), help="Train at most so many epochs.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Train at most so many minutes.")
@click.option("--config", metavar="FILE|NAME", help="YAML file, or the name of a configuration of vitdsi.")
@click.option(
    "--keep-tokens/--drop-tokens",
    default=True,
    help="Keep what the model reads of each image, for `add`, `compact` and `duplicates` [keep].",
)
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
    metadata: Path | None,
    ids: str | None,
    base: int | None,
    seed: int | None,
    device: str | None,
    epochs: float | None,
    minutes: float | None,
    config: str | None,
    keep_tokens: bool,
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
      vitdsi index photos -o photos.dsi --metadata albums.csv
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
    from vitdsi.facts import read_sidecar
    from vitdsi.features import default_cache
    from vitdsi.index import ImageIndex
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
        "training.retrieval_epochs": epochs,
        "training.minutes": minutes,
    }
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    settings = load_config(config, [*overrides, *given])
    facts = None if metadata is None else read_sidecar(metadata)  # a mistake in it is said at once
    index = ImageIndex(settings, cache=None if no_cache else cache or default_cache())

    def refuse_skipped() -> None:
        if strict and index.skipped_:
            refuse(index.skipped_)

    def on_progress(progress: Progress) -> None:
        display(progress)
        refuse_skipped()

    try:
        with contextlib.closing(BuildDisplay()) as display:
            index.fit(
                images,
                queries=queries,
                metadata=facts,
                keep_tokens=keep_tokens,
                on_progress=on_progress,
                state=state,
                resume=resume,
            )
            refuse_skipped()
            index.save(out)
    except KeyboardInterrupt:
        if has_checkpoint(state):
            say(f"stopped; continue with: {shlex.join(['vitdsi', *again(ctx, extra='--resume')])}")
        else:
            say("stopped before there was anything to resume; run the same command again")
        ctx.exit(INTERRUPTED)
    shutil.rmtree(state, ignore_errors=True)
    for line in problems(index.skipped_, index.duplicates_, index.unmatched_):
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
