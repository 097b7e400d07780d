"""`vitdsi experiment`: the paper's tables and figures from the command line. Heavy imports wait until a verb runs."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from vitdsi.cli.common import debug_option, say
from vitdsi.errors import UsageError
from vitdsi.paper.variations import ABLATIONS

if TYPE_CHECKING:
    from vitdsi.paper.runner import Options, Runner
    from vitdsi.paper.samples import Dataset

__all__ = ["experiment"]

_PATH = click.Path(path_type=Path)
_Verb = TypeVar("_Verb", bound=Callable[..., Any])
# settings that more than the configuration depends on
_OPTIONS = {"seed": "--seeds", "ids.scheme": "--schemes", "model.paper.image_size": "--image-size"}


@click.group("experiment")
@debug_option
def experiment() -> None:
    """Repeat the paper's experiments: Table 1 with its figures, the ablations, and query time against size.

    \b
    Examples:
      vitdsi experiment table1 imagenette2-160 -o results --quick
      vitdsi experiment ablation dropout imagenette2-160 -o results
      vitdsi experiment scaling -o results
    """


def _data_options(verb: _Verb) -> _Verb:
    """The options that say which images and which training; shared by table1 and ablation."""
    for option in reversed(
        (
            click.argument("images", type=_PATH),
            click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]..."),
            click.option(
                "-o", "--out", type=_PATH, required=True, metavar="DIR", help="Folder of all results."
            ),
            click.option(
                "--instances", type=_PATH, metavar="FILE", help="IMAGES are COCO photos; its instances file."
            ),
            click.option(
                "--relevance",
                type=click.Choice(["shared", "largest"]),
                help="COCO: any category in common, or that of the largest object [shared].",
            ),
            click.option(
                "--aspect-tolerance",
                type=click.FloatRange(min=0),
                help="Keep images whose aspect ratio is within 1 ± this; the paper has 0.1 [all].",
            ),
            click.option("--classes", type=click.IntRange(min=1), help="How many classes, the first by name [all]."),
            click.option("--min-per-class", type=click.IntRange(min=1), default=1, show_default=True,
                         help="Leave out classes with fewer images."),
            click.option("--indexing-share", type=click.FloatRange(0, 1, min_open=True), default=0.25,
                         show_default=True, help="Share of the images that is indexed; the rest are queries."),
            click.option(
                "--manifest", type=_PATH, metavar="FILE",
                help="Take exactly these images in these roles: a file of an earlier run's DIR/manifests.",
            ),
            click.option(
                "--seeds", default="0", show_default=True, help="Seeds, separated by commas: split, ids, model."
            ),
            click.option("--image-size", type=click.IntRange(min=8), default=64, show_default=True,
                         help="Side of the models' input; the paper has 256, 160 and 64."),
            click.option("--bovw-size", type=click.IntRange(min=16), default=160, show_default=True,
                         help="Side of the images that SIFT sees."),
            click.option(
                "--cache", type=_PATH, metavar="DIR", help="Folder of features and downloads [per user]."
            ),
            click.option(
                "--no-early-stopping",
                is_flag=True,
                help="The paper's retrieval phase takes all its epochs, and its last weights count.",
            ),
            click.option("--quick", is_flag=True, help="One small size and short training: a look in minutes."),
            debug_option,
        )
    ):  # fmt: skip
        verb = option(verb)
    return verb


@experiment.command("table1")
@_data_options
@click.option("--sizes", help="Images in all, of which 25 % are indexed [512,1024,2048; quick: 512].")
@click.option("--schemes", default="random,clustered", show_default=True, help="How images get their ids.")
@click.option("--methods", help="Rows of the table [all].")
@click.option("--no-figures", is_flag=True, help="Write the tables only.")
def table1_verb(sizes: str | None, schemes: str, methods: str | None, no_figures: bool, **given: Any) -> None:
    """Table 1 and Figures 1 to 3 of the paper, beside honest metrics, other baselines and our own training.

    IMAGES is a folder of class folders (or one with train/ and val/, of which train/ is used), COCO photos with
    --instances, or hub:OWNER/NAME[:SPLIT], a dataset of the Hugging Face hub. Writes table1.md, table1.json and the
    figures into DIR. Every finished cell of the table is a file in DIR/cells: a run that was stopped and is started
    again keeps them, and other settings make other cells. The curves of training grow in DIR/logs: metrics.jsonl, and
    what `tensorboard --logdir DIR/logs` shows.

    KEY=VALUE sets anything in the paper's configuration, `ours.KEY=VALUE` in ours.

    \b
    Examples:
      vitdsi experiment table1 imagenette2-160 -o results --quick
      vitdsi experiment table1 imagenette2-160 -o results --sizes 512 --seeds 0,1,2
      vitdsi experiment table1 imagenette2-160 -o results --image-size 160 --methods ours,BoVW
      vitdsi experiment table1 coco/val2017 --instances coco/instances.json --relevance largest -o results
      vitdsi experiment table1 hub:frgfm/imagenette -o results --classes 5 --aspect-tolerance 0.1
      vitdsi experiment table1 imagenette2-160 -o again --manifest results/manifests/FILE.json
      vitdsi experiment table1 imagenette2-160 -o results model.paper.dropout=0 ours.training.augment_prob=0.8
    """
    from vitdsi.paper.methods import METHODS
    from vitdsi.paper.table1 import run_table1

    options = _options(
        given,
        sizes=_numbers("--sizes", sizes or ("512" if given["quick"] else "512,1024,2048")),
        schemes=_names(schemes),
        methods=_names(methods) if methods else METHODS,
    )
    with _data(given) as (dataset, runner_for):
        options = _of_manifest(options, dataset, "sizes")
        cells = run_table1(runner_for(options), given["out"], _command())
    written = ["table1.md", "table1.json"]
    if not no_figures:
        from vitdsi.paper.figures import write_figures

        written += write_figures(cells, given["out"], quick=options.quick)
    say(f"written to {given['out']}: {', '.join(written)}")


@experiment.command("ablation")
@click.argument("name", type=click.Choice(list(ABLATIONS)))
@_data_options
@click.option("--size", type=click.IntRange(min=1), default=512, show_default=True, help="Images in all.")
@click.option("--schemes", default="random", show_default=True, help="How images get their ids.")
@click.option("--methods", default="zero-shot,fine-tuned", show_default=True, help="Rows of the table.")
@click.option("--values", help="Values of the setting [the paper's].")
def ablation_verb(name: str, size: int, schemes: str, methods: str, values: str | None, **given: Any) -> None:
    """Repeat cells of Table 1 with one setting varied: the claims of the paper's section 3.2.1.

    NAME is the setting. Writes ablation-NAME.md and .json with the table, .png and .svg with the figure into DIR. Cells
    are shared with table1 where they are the same.

    \b
    Examples:
      vitdsi experiment ablation dropout imagenette2-160 -o results
      vitdsi experiment ablation patch_size imagenette2-160 -o results --methods ours --seeds 0,1,2
      vitdsi experiment ablation retrieval_epochs imagenette2-160 -o results --values 0,10,50
      vitdsi experiment ablation positions imagenette2-160 -o results --quick
    """
    from vitdsi.paper.ablation import run_ablation

    if name == "indexing_share" and given["manifest"]:
        raise UsageError("--manifest says which images are indexed; vary indexing_share without one")
    options = _options(given, sizes=(size,), schemes=_names(schemes), methods=_names(methods))
    with _data(given) as (dataset, runner_for):
        options = _of_manifest(options, dataset, "size")
        written = run_ablation(
            name, options, runner_for, given["out"], _command(), values=_names(values or "")
        )
    say(f"written to {given['out']}: {', '.join(written)}")


@experiment.command("scaling")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-o", "--out", type=_PATH, required=True, metavar="DIR", help="Folder of all results.")
@click.option(
    "--sizes", default="100,1000,10000,100000,1000000", show_default=True, help="Numbers of images."
)
@click.option(
    "--image-size", type=click.IntRange(min=8), default=160, show_default=True, help="Model's input."
)
@click.option("--repeats", type=click.IntRange(min=1), default=30, show_default=True, help="Timed queries.")
@click.option(
    "--hnsw-limit",
    type=click.IntRange(min=0),
    default=100_000,
    show_default=True,
    help="Largest graph that is built.",
)
@debug_option
def scaling_verb(
    overrides: tuple[str, ...], out: Path, sizes: str, image_size: int, repeats: int, hnsw_limit: int
) -> None:
    """Time one query against the number of images: the paper's claim of constant against linear time.

    Weights and vectors are random, which does not change times; the plot and the table say so. Writes scaling.md,
    .json, .png and .svg into DIR.

    \b
    Examples:
      vitdsi experiment scaling -o results
      vitdsi experiment scaling -o results --sizes 100,1000,10000 --repeats 10
      vitdsi experiment scaling -o results model.paper.architecture=single_stack
    """
    from vitdsi.paper.scaling import run_scaling

    _make(out)
    written = run_scaling(
        out,
        _command(),
        sizes=_numbers("--sizes", sizes),
        image_size=image_size,
        repeats=repeats,
        hnsw_limit=hnsw_limit,
        overrides=overrides,
        say=say,
    )
    say(f"written to {out}: {', '.join(written)}")


def _options(given: dict[str, Any], **more: Any) -> Options:
    from vitdsi.paper.runner import Options

    for text in given["overrides"]:
        if "=" not in text:
            raise UsageError(
                f"{text!r} is one argument too many; give one folder of images, settings as KEY=VALUE"
            )
        key = text.removeprefix("ours.").partition("=")[0]
        if key in _OPTIONS:
            raise UsageError(f"{text!r}: splits and pixels depend on it too; use {_OPTIONS[key]}")
    return Options(
        seeds=_numbers("--seeds", given["seeds"]),
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
def _data(given: dict[str, Any]) -> Iterator[tuple[Dataset, Callable[[Options], Runner]]]:
    """The data that was given, and what makes the runner of some options on it."""
    from vitdsi.cli.terminal import BuildDisplay
    from vitdsi.paper.cells import CellStore
    from vitdsi.paper.runner import Runner
    from vitdsi.paper.samples import read_dataset

    cache = given["cache"]
    if cache is None:
        from vitdsi.backbones.cache import default_cache

        cache = default_cache()
    _make(given["out"])
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


def _of_manifest(options: Options, dataset: Dataset, size: str) -> Options:
    """The options with the size of the manifest, where there is one; nothing else may then choose images."""
    if dataset.split is None:
        return options
    context = click.get_current_context()
    for name in (size, "classes", "min_per_class", "indexing_share", "aspect_tolerance"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"--manifest says which images there are; leave out --{name.replace('_', '-')}")
    return replace(options, sizes=(sum(len(part) for part in vars(dataset.split).values()),))


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: cannot be created ({error.strerror}); choose another place") from error


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in _names(text))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 0:
        raise UsageError(f"{option} {text!r}: give numbers separated by commas, such as 0,1,2")
    return numbers


def _command() -> str:
    """The command as it can be given again elsewhere: paths are cut to the names of files and folders."""
    context = click.get_current_context()
    words = ["vitdsi", "experiment", str(context.info_name)]
    for parameter in context.command.params:
        name = parameter.name or ""
        if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE or name in (
            "cache",
            "debug",
        ):
            continue
        value = context.params[name]
        if isinstance(parameter, click.Option):
            words.append(parameter.opts[-1] if len(parameter.opts) == 1 else parameter.opts[0])
        if value is not True:
            several = value if isinstance(value, tuple) else (value,)
            words += [_shown(part) for part in several]
    return shlex.join(words)


def _shown(value: object) -> str:
    if isinstance(value, Path) and not value.as_posix().startswith("hub:"):
        return value.resolve().name
    return str(value)
