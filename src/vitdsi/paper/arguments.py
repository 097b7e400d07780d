"""Arguments that the verbs of `vitdsi experiment` share: how they are declared, checked and recorded."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from vitdsi.cli.common import FILE, debug_option, say
from vitdsi.errors import UsageError

if TYPE_CHECKING:
    from vitdsi.paper.runner import Options, Runner
    from vitdsi.paper.samples import Dataset

_Verb = TypeVar("_Verb", bound=Callable[..., Any])
# Settings that the split or the pixels depend on too, and the options to set them with.
_OPTION_OF = {
    "seed": "--seeds",
    "ids.scheme": "--schemes",
    "model.image_size": "--image-size",
    "model.paper.image_size": "--image-size",
}


def data_options(verb: _Verb) -> _Verb:
    """Add the arguments of table1 and ablation that choose the images and the training."""
    for option in reversed(
        (
            click.argument("images", type=FILE),
            click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]..."),
            click.option(
                "-o", "--out", type=FILE, required=True, metavar="DIR", help="Folder of all results."
            ),
            click.option(
                "--instances", type=FILE, metavar="FILE", help="Instances file, if IMAGES are COCO photos."
            ),
            click.option(
                "--relevance",
                type=click.Choice(["shared", "largest"]),
                help="COCO: relevant images share any category, or that of their largest object [shared].",
            ),
            click.option(
                "--aspect-tolerance",
                type=click.FloatRange(min=0),
                help="Keep images whose aspect ratio is within 1 ± this; the paper uses 0.1 [all].",
            ),
            click.option(
                "--classes", type=click.IntRange(min=1), help="Number of classes, the first ones by name [all]."
            ),
            click.option("--min-per-class", type=click.IntRange(min=1), default=1, show_default=True,
                         help="Leave out classes with fewer images."),
            click.option("--indexing-share", type=click.FloatRange(0, 1, min_open=True), default=0.25,
                         show_default=True, help="Share of the images to index; the others are queries."),
            click.option(
                "--manifest", type=FILE, metavar="FILE",
                help="Use the images and roles of an earlier run: a file of its DIR/manifests.",
            ),
            click.option(
                "--seeds", default="0", show_default=True, help="Seeds of split, ids and model, separated by commas."
            ),
            click.option("--image-size", type=click.IntRange(min=8), default=160, show_default=True,
                         help="Side of the models' input in pixels; the paper recommends 160."),
            click.option("--bovw-size", type=click.IntRange(min=16), default=160, show_default=True,
                         help="Side in pixels of the images that SIFT reads."),
            click.option(
                "--cache", type=FILE, metavar="DIR", help="Folder of cached features and downloads [per user]."
            ),
            click.option(
                "--no-early-stopping",
                is_flag=True,
                help="Train the paper's retrieval phase for all its epochs, and keep the last weights.",
            ),
            click.option(
                "--retrieval-epochs", metavar="EPOCHS",
                help="Limit of the paper's retrieval phase in epochs: one for each size, or one for all [75].",
            ),
            click.option(
                "--finished", is_flag=True, help="Use the cells that are finished, and compute no others."
            ),
            click.option("--quick", is_flag=True, help="One small size and short training, done in minutes."),
            debug_option,
        )
    ):  # fmt: skip
        verb = option(verb)
    return verb


def read_options(given: dict[str, Any], **more: Any) -> Options:
    """Make the options of a runner from the arguments of `data_options`, and `more` of its fields.

    Raises:
        UsageError: a number, method or scheme is not valid, an override is not KEY=VALUE, or it sets what an option
            sets.
    """
    from vitdsi.paper.runner import Options

    for text in given["overrides"]:
        if "=" not in text:
            raise UsageError(
                f"{text!r} is one argument too many; give one folder of images, and settings as KEY=VALUE"
            )
        key = text.removeprefix("ours.").partition("=")[0]
        if key in _OPTION_OF:
            raise UsageError(f"{text!r}: the split and the pixels depend on it too; use {_OPTION_OF[key]}")
    epochs = _parse_epochs(given["retrieval_epochs"])
    if len(epochs) == 1:
        epochs *= len(more["sizes"])
    return Options(
        retrieval_epochs=epochs,
        finished=given["finished"],
        seeds=parse_numbers("--seeds", given["seeds"]),
        image_size=given["image_size"],
        bovw_size=given["bovw_size"],
        indexing_share=given["indexing_share"],
        num_classes=given["classes"],
        min_per_class=given["min_per_class"],
        early_stopping=not given["no_early_stopping"],
        quick=given["quick"],
        overrides=given["overrides"],
        **more,
    )


@contextlib.contextmanager
def open_data(given: dict[str, Any]) -> Iterator[tuple[Dataset, Callable[[Options], Runner]]]:
    """Read the data set, and yield it with a function that makes its runner with some options.

    Progress is shown until the context ends.
    """
    from vitdsi.cli.terminal import BuildDisplay
    from vitdsi.paper.cells import CellStore
    from vitdsi.paper.runner import Runner
    from vitdsi.paper.samples import read_dataset

    cache = given["cache"]
    if cache is None:
        from vitdsi.backbones.cache import default_cache

        cache = default_cache()
    make_folder(given["out"])
    dataset = read_dataset(
        given["images"],
        instances=given["instances"],
        relevance=given["relevance"],
        aspect_tolerance=given["aspect_tolerance"],
        manifest=given["manifest"],
        downloads=cache / "datasets",
    )
    store = CellStore(given["out"])
    with contextlib.closing(BuildDisplay()) as display:
        yield (
            dataset,
            lambda options: Runner(dataset, options, store, cache=cache, say=say, on_progress=display),
        )


def with_manifest_size(options: Options, dataset: Dataset, size: str) -> Options:
    """Set the number of images to that of the manifest, if there is one.

    Args:
        size: the parameter of the verb that sets the number of images otherwise.

    Raises:
        UsageError: there is a manifest, and an option that chooses images was given as well.
    """
    if dataset.split is None:
        return options
    context = click.get_current_context()
    for name in (size, "classes", "min_per_class", "indexing_share", "aspect_tolerance"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"--manifest fixes the images; leave out --{name.replace('_', '-')}")
    return replace(options, sizes=(sum(len(part) for part in vars(dataset.split).values()),))


def make_folder(out: Path) -> None:
    """Create the folder `out` if it does not exist. Raises UsageError if that is not possible."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: cannot be created ({error.strerror}); choose another place") from error


def parse_names(text: str) -> tuple[str, ...]:
    """Split a text at its commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_numbers(option: str, text: str) -> tuple[int, ...]:
    """Read non-negative numbers that are separated by commas. Raises UsageError if there are none."""
    try:
        numbers = tuple(int(part) for part in parse_names(text))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 0:
        raise UsageError(f"{option} {text!r}: give numbers separated by commas, such as 0,1,2")
    return numbers


def _parse_epochs(text: str | None) -> tuple[float, ...]:
    """Read non-negative numbers that are separated by commas."""
    try:
        epochs = tuple(float(part) for part in parse_names(text or ""))
    except ValueError:
        epochs = (-1.0,)
    if any(number < 0 for number in epochs):
        raise UsageError(f"--retrieval-epochs {text!r}: give numbers separated by commas, such as 75,20,5")
    return epochs


def command_line() -> str:
    """The command that is running, so that it can be repeated elsewhere: paths are reduced to their last part."""
    context = click.get_current_context()
    words = ["vitdsi", "experiment", str(context.info_name)]
    for parameter in context.command.params:
        name = parameter.name or ""
        if name == "cache" or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        if isinstance(parameter, click.Option):
            words.append(parameter.opts[0])
        if value is not True:
            words += [_without_folder(part) for part in (value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def _without_folder(value: object) -> str:
    if isinstance(value, Path) and not value.as_posix().startswith("hub:"):
        return value.resolve().name
    return str(value)
