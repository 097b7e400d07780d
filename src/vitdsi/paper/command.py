"""`vitdsi experiment`: the paper's tables and figures on the command line. Slow imports wait until a verb runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vitdsi.cli.common import FILE, debug_option, say
from vitdsi.errors import UsageError
from vitdsi.paper.arguments import (
    command_line,
    data_options,
    make_folder,
    open_data,
    parse_names,
    parse_numbers,
    read_options,
    with_manifest_size,
)
from vitdsi.paper.variations import ABLATIONS

__all__ = ["experiment"]


@click.group("experiment")
@debug_option
def experiment() -> None:
    """Repeat the paper's experiments: Table 1 and its figures, the ablations, and query time against size.

    Two more go beyond the paper: the trade-off along fine-tuning, and what our recipe adds.

    \b
    Examples:
      vitdsi experiment table1 imagenette2-160 -o results --quick
      vitdsi experiment ablation dropout imagenette2-160 -o results
      vitdsi experiment scaling -o results
    """


@experiment.command("table1")
@data_options
@click.option(
    "--sizes", help="Numbers of images, of which 25 % are indexed [512,1024,2048; with --quick 512]."
)
@click.option("--schemes", default="random,clustered", show_default=True, help="Id schemes.")
@click.option("--methods", help="Methods, separated by commas [all].")
@click.option("--no-figures", is_flag=True, help="Write the tables only.")
def table1_verb(sizes: str | None, schemes: str, methods: str | None, no_figures: bool, **given: Any) -> None:
    """Repeat Table 1 and Figures 1 to 3 of the paper, with standard metrics, more baselines and our own training.

    IMAGES is a folder of class folders (or one with train/ and val/, of which train/ is used), COCO photos with
    --instances, or hub:OWNER/NAME[:SPLIT], a data set of the Hugging Face hub. Writes table1.md, table1.json and the
    figures to DIR. Each finished cell of the table is a file in DIR/cells, so that a run that was interrupted
    continues where it stopped; other settings make other cells. Training curves are written to DIR/logs as
    metrics.jsonl, and as events that `tensorboard --logdir DIR/logs` shows.

    KEY=VALUE changes a setting of the paper's configuration, `ours.KEY=VALUE` one of ours.

    \b
    Examples:
      vitdsi experiment table1 imagenette2-160 -o results --quick
      vitdsi experiment table1 imagenette2-160 -o results --sizes 512 --seeds 0,1,2
      vitdsi experiment table1 imagenette2-160 -o results --image-size 64 --methods ours,BoVW
      vitdsi experiment table1 coco/val2017 --instances coco/instances.json --relevance largest -o results
      vitdsi experiment table1 hub:frgfm/imagenette -o results --classes 5 --aspect-tolerance 0.1
      vitdsi experiment table1 imagenette2-160 -o again --manifest results/manifests/FILE.json
      vitdsi experiment table1 imagenette2-160 -o results model.paper.dropout=0 ours.training.augment_prob=0.8
    """
    from vitdsi.paper.methods import METHODS
    from vitdsi.paper.table1 import run_table1

    options = read_options(
        given,
        sizes=parse_numbers("--sizes", sizes or ("512" if given["quick"] else "512,1024,2048")),
        schemes=parse_names(schemes),
        methods=parse_names(methods) if methods else METHODS,
    )
    with open_data(given) as (dataset, runner_for):
        options = with_manifest_size(options, dataset, "sizes")
        cells = run_table1(runner_for(options), given["out"], command_line())
    written = ["table1.md", "table1.json"]
    if not no_figures:
        from vitdsi.paper.figures import write_figures

        written += write_figures(cells, given["out"], quick=options.quick)
    say(f"written to {given['out']}: {', '.join(written)}")


@experiment.command("ablation")
@click.argument("name", type=click.Choice(list(ABLATIONS)))
@data_options
@click.option("--size", type=click.IntRange(min=1), default=512, show_default=True, help="Number of images.")
@click.option("--schemes", default="random", show_default=True, help="Id schemes.")
@click.option(
    "--methods", default="zero-shot,fine-tuned", show_default=True, help="Methods, separated by commas."
)
@click.option("--values", help="Values of the setting [the paper's].")
def ablation_verb(name: str, size: int, schemes: str, methods: str, values: str | None, **given: Any) -> None:
    """Repeat rows of Table 1 with different values of one setting, as in section 3.2.1 of the paper.

    NAME is the setting. Writes the table to DIR as ablation-NAME.md and .json, and the figure as .png and .svg. Cells
    that table1 has computed with the same settings are not computed again.

    \b
    Examples:
      vitdsi experiment ablation dropout imagenette2-160 -o results
      vitdsi experiment ablation patch_size imagenette2-160 -o results --methods ours --seeds 0,1,2
      vitdsi experiment ablation retrieval_epochs imagenette2-160 -o results --values 0,10,50
      vitdsi experiment ablation positions imagenette2-160 -o results --quick
    """
    from vitdsi.paper.ablation import run_ablation

    if name == "indexing_share" and given["manifest"]:
        raise UsageError("--manifest fixes which images are indexed; vary indexing_share without it")
    options = read_options(given, sizes=(size,), schemes=parse_names(schemes), methods=parse_names(methods))
    with open_data(given) as (dataset, runner_for):
        options = with_manifest_size(options, dataset, "size")
        written = run_ablation(
            name, options, runner_for, given["out"], command_line(), values=parse_names(values or "")
        )
    say(f"written to {given['out']}: {', '.join(written)}")


@experiment.command("tradeoff")
@data_options
@click.option("--sizes", default="512,1024,2048", show_default=True, help="Numbers of images.")
@click.option("--schemes", default="random", show_default=True, help="Id schemes.")
def tradeoff_verb(sizes: str, schemes: str, **given: Any) -> None:
    """Follow indexing accuracy and precision along fine-tuning, up to and past the state that the paper prints.

    From the zero-shot model on, the model is measured at fractions of an epoch: with the paper's recipe, with lower
    learning rates, and with a share of indexing examples that is kept (replay). Writes tradeoff.md, .json, .png and
    .svg to DIR. Cells that table1 has computed with the same settings are not computed again.

    \b
    Examples:
      vitdsi experiment tradeoff imagenette2-160 -o results --sizes 512
      vitdsi experiment tradeoff imagenette2-160 -o results --seeds 0,1,2,3,4
    """
    from vitdsi.paper.tradeoff import run_tradeoff

    options = read_options(given, sizes=parse_numbers("--sizes", sizes), schemes=parse_names(schemes))
    with open_data(given) as (dataset, runner_for):
        options = with_manifest_size(options, dataset, "sizes")
        written = run_tradeoff(runner_for(options), given["out"], command_line())
    say(f"written to {given['out']}: {', '.join(written)}")


@experiment.command("factorial")
@data_options
@click.option("--size", type=click.IntRange(min=1), default=512, show_default=True, help="Number of images.")
@click.option("--schemes", default="random", show_default=True, help="Id scheme.")
@click.option(
    "--examples",
    type=click.IntRange(min=1),
    help="Limit of the training examples of each combination [those of the fine-tuned cell of table1].",
)
def factorial_verb(size: int, schemes: str, examples: int | None, **given: Any) -> None:
    """Attribute the gain of our recipe to what it changes, by a fractional factorial design of 16 combinations.

    The factors are the joint schedule, the marginal target, the constrained scores, the altered views, the batch size,
    and the learning rate with its cooldown and weight decay. Writes factorial.md, .json, .png and .svg to DIR.

    \b
    Examples:
      vitdsi experiment factorial imagenette2-160 -o results --seeds 0,1,2
      vitdsi experiment factorial imagenette2-160 -o results --examples 32000
    """
    from vitdsi.paper.factorial import run_factorial

    options = read_options(given, sizes=(size,), schemes=parse_names(schemes))
    with open_data(given) as (dataset, runner_for):
        options = with_manifest_size(options, dataset, "size")
        written = run_factorial(runner_for(options), given["out"], command_line(), examples=examples)
    say(f"written to {given['out']}: {', '.join(written)}")


@experiment.command("scaling")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("-o", "--out", type=FILE, required=True, metavar="DIR", help="Folder of all results.")
@click.option(
    "--sizes", default="100,1000,10000,100000,1000000", show_default=True, help="Numbers of images."
)
@click.option(
    "--image-size",
    type=click.IntRange(min=8),
    default=160,
    show_default=True,
    help="Side of the model's input in pixels.",
)
@click.option(
    "--repeats", type=click.IntRange(min=1), default=30, show_default=True, help="Number of timed queries."
)
@click.option(
    "--hnsw-limit",
    type=click.IntRange(min=0),
    default=100_000,
    show_default=True,
    help="Largest number of vectors in an HNSW graph.",
)
@debug_option
def scaling_verb(
    overrides: tuple[str, ...], out: Path, sizes: str, image_size: int, repeats: int, hnsw_limit: int
) -> None:
    """Time one query against the number of images: the paper's claim of constant against linear time.

    Weights and vectors are random, which does not change the times. Writes scaling.md, .json, .png and .svg to DIR.

    \b
    Examples:
      vitdsi experiment scaling -o results
      vitdsi experiment scaling -o results --sizes 100,1000,10000 --repeats 10
      vitdsi experiment scaling -o results model.paper.architecture=single_stack
    """
    from vitdsi.paper.scaling import run_scaling

    make_folder(out)
    written = run_scaling(
        out,
        command_line(),
        sizes=parse_numbers("--sizes", sizes),
        image_size=image_size,
        repeats=repeats,
        hnsw_limit=hnsw_limit,
        overrides=overrides,
        say=say,
    )
    say(f"written to {out}: {', '.join(written)}")
