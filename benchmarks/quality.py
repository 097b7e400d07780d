"""Is an index better than its peers? Quality on the same features, an ablation ladder, and intervals of differences.

    python benchmarks/quality.py NAME=FOLDER ... --queries validation|test [--sizes N,...] [--seeds 0,1,2] [-o DIR]
                                 [--methods TEXT;...] [--again TEXT;...] [--no-ladder] [key=value ...]

FOLDER has a sub-folder for each class. Each cell is a set, a size and a seed: `--sizes` are numbers of indexed images
(see `splits.py`), and without them a quarter of each class is indexed. Measured are all peers of
`vitdsi.evaluation.peers`, the product without labels and with labels and random or clustered ids, and the steps that
lead to the product (`methods.py`): mean average precision and P@10 of the searched photos by class; IA@1 of the indexed
images; copies at rank 1 under the alterations that training draws and under six others (`alterations.py`); and how well
the best score tells copies of indexed images from copies of other photos that were altered in the same way, as AUROC
and as false positives at 95 % recall.

Settings (key=value) are those of the product. Choices are made with `--queries validation`; `--queries test` is for one
report. With `--locked`, the sets are locked sets: nothing may be chosen by them, and each cell adds a line to
results/locked/log.jsonl.

Values of single photos are kept in DIR/measured, so that an interrupted run continues and a method can be measured
again alone; `--methods` and `--again` take the beginnings of names. Each cell writes a JSON file to DIR, and all cells
in DIR are summarised in DIR/summary.md.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cell import Cell, load_cell
from locked import commit_of, log_locked_run
from measure import Measured, measure
from methods import ROWS, Fitted, fit_peer, fit_product, product_methods, search_of
from report import cell_report, summary
from shared import named_folders

from vitdsi.errors import UsageError
from vitdsi.evaluation.peers import PEERS
from vitdsi.files import write_atomically


def measure_missing(cell: Cell, names: Iterable[str], overrides: list[str], folder: Path) -> None:
    """Measure methods on a cell, and write their values to `folder`."""
    for name, fitted in fitted_methods(cell, names, overrides):
        start = time.process_time()
        values = measure(fitted.search, cell)
        facts = {**fitted.facts, "search s": round(time.process_time() - start, 2)}
        write_values(folder / f"{slug(name)}.npz", name, values, facts, overrides)
        print(cell.name, name, facts, f"MAP {values['MAP'].mean():.4f}", file=sys.stderr, flush=True)


def fitted_methods(cell: Cell, names: Iterable[str], overrides: list[str]) -> Iterator[tuple[str, Fitted]]:
    """Fit methods one after the other; those that cannot be fitted on so few images are left out."""
    product = product_methods()
    built: list[str] | None = None
    for name in names:
        if name in product:
            _, settings, option = product[name]
            if settings != built:  # methods with the same settings follow each other
                index, facts = fit_product([*settings, *overrides], cell)
                built = settings
            yield name, Fitted(search_of(index, option), facts)
            continue
        try:
            yield name, fit_peer(name, cell)
        except UsageError as error:
            print(f"{cell.name}, {name}: left out; {error}", file=sys.stderr, flush=True)


def write_values(
    path: Path, name: str, values: Measured, facts: dict[str, Any], overrides: list[str]
) -> None:
    """Write the values of a method."""
    ignore = path.parent.parent / ".gitignore"
    path.parent.mkdir(parents=True, exist_ok=True)
    ignore.write_text("*\n", "utf-8")
    about = json.dumps(
        {"name": name, "facts": facts, "overrides": overrides if name.startswith("product") else []}
    )
    with write_atomically(path) as stream:
        np.savez_compressed(stream, about=np.array(about), **values)


def read_values(path: Path) -> tuple[dict[str, Any], Measured]:
    """Read what `write_values` wrote: name, facts and overrides, and the values."""
    with np.load(path) as stored:
        values = {key: stored[key] for key in stored.files if key != "about"}
        return json.loads(str(stored["about"])), values


def slug(name: str) -> str:
    """The name of the file of a method."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")


def chosen(names: Iterable[str], beginnings: str | None) -> list[str]:
    """The names that begin with one of the texts, separated by semicolons; None chooses none."""
    return [n for n in names if beginnings is not None and n.startswith(tuple(beginnings.split(";")))]


def main() -> None:
    """Measure what is missing, then summarise all cells."""
    args, sets, overrides = arguments()
    commit = commit_of(Path(__file__).parent, allow_dirty=args.allow_dirty) if args.locked else None
    names = [name for name in [*PEERS, *product_methods()] if not (args.no_ladder and ": " in name)]
    measured = args.output / "measured"
    for seed in map(int, args.seeds.split(",")):
        for name, folder in sets.items():
            for size in [int(text) for text in args.sizes.split(",")] if args.sizes else [None]:
                run_cell(args, (name, folder, size, seed), names, overrides, measured, commit)
    cells = [json.loads(file.read_text("utf-8")) for file in sorted(args.output.glob("*.json"))]
    text = summary(cells, lambda cell: stored_values(measured / cell["cell"]))
    with write_atomically(args.output / "summary.md") as stream:
        stream.write(text.encode())
    print(text)


def run_cell(
    args: argparse.Namespace,
    what: tuple[str, Path, int | None, int],
    names: list[str],
    overrides: list[str],
    measured: Path,
    commit: tuple[str, bool] | None,
) -> None:
    """Measure what is missing of a cell, and write its JSON file."""
    cell = load_cell(*what, args.queries)
    folder = measured / cell.name
    again = chosen(names, args.again)
    missing = [
        n for n in chosen(names, args.methods) if n in again or not (folder / f"{slug(n)}.npz").exists()
    ]
    measure_missing(cell, missing, overrides, folder)
    stored = stored_values(folder)
    for name, (about, _) in stored.items():
        if name.startswith("product") and about["overrides"] != overrides:
            raise UsageError(
                f"{folder}: {name} was measured with {about['overrides']}, not with {overrides}; pass --again product, "
                "or another folder with -o"
            )
    found = {**cell.description, **cell_report(stored, locked=args.locked)}
    if commit is not None:
        figures = {name: values for name, values in found.items() if name != "methods"}
        figures["methods"] = {name: values for name, values in found["methods"].items() if name in ROWS}
        log_locked_run(cell.set, cell.seed, figures, commit)
    with write_atomically(args.output / f"{cell.name}.json") as stream:
        stream.write((json.dumps(found, indent=1) + "\n").encode())


def stored_values(folder: Path) -> dict[str, tuple[dict[str, Any], Measured]]:
    """What is known about each method that was measured on a cell, and its values, in the order of the tables."""
    read = [read_values(path) for path in folder.glob("*.npz")]
    by_name = {about["name"]: (about, values) for about, values in read}
    return {name: by_name[name] for name in [*PEERS, *product_methods()] if name in by_name}


def arguments() -> tuple[argparse.Namespace, dict[str, Path], list[str]]:
    """Parse the command line: the options, the folder of each set, and the settings of the product."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("given", nargs="+", metavar="NAME=FOLDER | key=value")
    parser.add_argument(
        "--queries", choices=("validation", "test"), required=True, help="the photos to search with"
    )
    parser.add_argument("--sizes", metavar="N,...", help="numbers of indexed images, instead of a quarter")
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas")
    parser.add_argument("-o", "--output", type=Path, default=Path("results/quality"), metavar="DIR")
    parser.add_argument(
        "--methods", default="", metavar="TEXT;...", help="only methods whose names begin like this"
    )
    parser.add_argument(
        "--again", metavar="TEXT;...", help="measure methods again whose names begin like this"
    )
    parser.add_argument("--no-ladder", action="store_true", help="leave the ablation ladder out")
    parser.add_argument("--locked", action="store_true", help="the sets are locked; log each cell")
    parser.add_argument(
        "--allow-dirty", action="store_true", help="with --locked: although files are not committed"
    )
    args = parser.parse_intermixed_args()
    sets, overrides = named_folders(args.given)
    return args, sets, overrides


if __name__ == "__main__":
    main()
