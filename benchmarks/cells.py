"""Is a transformer over the cells of a feature map worth its time? Instances, classes and copies by grid and depth.

    python benchmarks/cells.py NAME=FOLDER ... --backgrounds FOLDER --classes FOLDER [--limit N] [--queries N]
                               [--views V] [--steps N] [--size N] [--seeds 0,...] [--skip ROW;...] [--only TABLE]
                               [-o DIR] [key=value ...]

The cells are those of the last feature map of the default backbone, 7 x 7 of 320 numbers, or of an earlier stage,
14 x 14 of 112. An encoder reads them, with no block (their mean alone) or one to four.

Instances: the first N photos of each folder are indexed together. Some of them are photographed (see
`photographed.py`), and all pictures are compared with the whole photo, and with the best of its five parts. The map
that is learned from V hard views is trained further with a contrastive loss, as it is and with what the encoder adds to
it, which is zero at first.

Classes and copies: the product with `model.stem=map`, the earlier stage as a backbone of its own, and each depth as
`model.depth`, without and with labels, indexes --size photos of --classes, and is searched with its validation photos
and with altered copies (see `quality.py`; those known are altered as in training). Settings (key=value) are those of
the product, the same for all rows.

Times are those of the processor for one search with the whole photo, in passes of the backbone.

Writes DIR/cells.json and DIR/cells.md (results/cells). Rows that are in DIR/cells.json already are not measured again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from cell import load_cell
from contrastive import Contrastive
from locked import commit_of
from measure import measure
from methods import fit_product, search_of
from photographed import SEED, by_map, measured, read_queries
from shared import named_folders
from torch import Tensor, nn

from vitdsi.backbones import BACKBONES
from vitdsi.backbones.cache import default_cache
from vitdsi.backbones.efficientnet import EfficientNetLite0, preprocess
from vitdsi.backbones.reader import FeatureReader
from vitdsi.files import write_atomically
from vitdsi.model.pictures import Pictures, pictures_from_views
from vitdsi.paper.machine import machine_class
from vitdsi.photos.decode import Source, content_hash, load_square
from vitdsi.photos.find import find_images, scan_folder
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank
from vitdsi.state import IndexState
from vitdsi.training.hard_views import read_hard_views

_DIM, _TIMED = 384, 40
_PICTURES, _GROUP = 48, 6  # of a step, and those among them that look alike
_RATE, _NEW_RATE = 1e-4, 3e-4
_STAGE, _BLOCKS = "efficientnet-lite0-stage5", 11
_GRIDS = {"7 x 7": "efficientnet-lite0", "14 x 14": _STAGE}
_DEPTHS = (0, 1, 2, 3, 4)
_TABLES = ("instances", "classes")
_COPIES = ("as in training@1", "unseen@1")

Rows = dict[str, dict[str, float]]
Read = tuple[Tensor, Tensor, Tensor]


class EarlierStage(EfficientNetLite0):
    """The default backbone, with the 14 x 14 cells of its fifth stage as the feature map."""

    name = _STAGE
    shapes: ClassVar = {"pooled": (1280,), "map": (196, 112)}

    def features(self, pixels: Tensor, kind: str) -> Tensor:
        if kind == "pooled":
            return super().features(pixels, kind)
        x = F.relu6(self.stem(preprocess(pixels).contiguous(memory_format=torch.channels_last)))
        for block in self.blocks[:_BLOCKS]:
            x = block(x)
        return x.flatten(2).transpose(1, 2)


def milliseconds(run: Callable[[int], object]) -> float:
    """Processor time of a run in milliseconds: the median of some."""
    times = []
    for i in range(_TIMED):
        start = time.process_time()
        run(i)
        times.append(1000 * (time.process_time() - start))
    return float(np.median(times))


def instances(args: argparse.Namespace, known: Rows) -> Iterator[tuple[str, dict[str, float]]]:
    """The rows of the map without cells, and with those of each grid at each depth."""
    records = [
        record for folder in args.sets.values() for record in scan_folder(folder, "none")[: args.limit]
    ]
    paths, backgrounds = [record.path for record in records], find_images(args.backgrounds)[::7]
    hashes = [content_hash(path) for path in paths]
    wanted = torch.from_numpy(np.random.default_rng(SEED).choice(len(paths), args.queries, replace=False))

    def read(kind: str, backbone: str) -> Read:
        reader = FeatureReader(kind, backbone=backbone, cache=default_cache())
        views = read_hard_views(paths, hashes, reader, args.views, 0)
        asked = read_queries(reader, [paths[i] for i in wanted.tolist()], backgrounds)
        return reader.load(paths).features, views, asked

    pooled = read("pooled", "efficientnet-lite0")
    pictures = pictures_from_views(pooled[0], pooled[1], _DIM)
    one_pass = search_time(None, FeatureReader("pooled"), paths)

    def row(cells: Read | None, depth: int | None, seed: int) -> dict[str, float]:
        start = time.process_time()
        scores = left_out(pictures, pooled, cells, depth, args.steps, seed)
        seconds = time.process_time() - start
        passes = 1 + forward_time(pictures, pooled, cells, depth) / one_pass
        return {**measured(scores, wanted), "search": passes, "training s": seconds}

    yield "closed form", {**measured(by_map(pictures, pictures.rows, pooled[2]), wanted), "search": 1.0}
    for seed in args.seeds:
        name = f"no cells, seed {seed}"
        if name not in known:
            yield name, row(None, None, seed)
    for grid, backbone_name in _GRIDS.items():
        names = {(d, s): f"{grid}, depth {d}, seed {s}" for s in args.seeds for d in _DEPTHS}
        missing = {key: name for key, name in names.items() if name not in known}
        cells = read("map", backbone_name) if missing else None
        for (depth, seed), name in missing.items():
            yield name, row(cells, depth, seed)


def left_out(
    pictures: Pictures, pooled: Read, cells: Read | None, depth: int | None, steps: int, seed: int
) -> Tensor:
    """Train a map with a contrastive loss, and return the cosines (N, P, M) of the queries.

    Each view is told from other pictures of its batch, which has groups of pictures that look alike, by the vectors
    that all of them have without one of their views, because a vector with it knows the background.
    """
    torch.manual_seed(seed)
    model = Contrastive(pictures, *(cells[0].shape[1:] if cells else (0, 0)), depth)
    scale = nn.Parameter(torch.tensor(3.0))
    alike = (pictures.rows @ pictures.rows.T).topk(_GROUP, dim=1).indices
    new = [parameter for name, parameter in model.named_parameters() if name != "weight"]
    groups = [{"params": [model.weight], "rate": _RATE}, {"params": new, "rate": _NEW_RATE}]
    optimizer = torch.optim.AdamW([*groups, {"params": [scale], "rate": 1e-2}], lr=0.0, weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    count = pooled[1].shape[1]

    def embed(which: int, some: Tensor) -> Tensor:
        chosen = [part and part[which][some] for part in (pooled, cells)]
        flat = [part if part is None or which == 0 else part.flatten(0, 1) for part in chosen]
        found: Tensor = model(*flat)
        return found if which == 0 else found.view(len(some), -1, found.shape[1])

    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * min(1.0, step / 10, 2 * (1 - step / steps))
        images = alike[torch.randperm(len(alike), generator=generator)[: _PICTURES // _GROUP]].unique()
        own, views = embed(0, images), embed(1, images)
        total, loss = views.sum(1), own.new_zeros(())
        for view in views.unbind(1):
            rows = F.normalize(own + 2 * (total - view) / (count - 1), dim=1)
            loss = loss + F.cross_entropy(scale.exp() * view @ rows.T, torch.arange(len(rows))) / count
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        last = [
            F.normalize(embed(0, part) + 2 * embed(1, part).mean(1), dim=1)
            for part in torch.arange(len(alike)).split(_PICTURES)
        ]
        asked = [embed(2, part) for part in torch.arange(len(pooled[2])).split(_PICTURES)]
        return torch.cat(asked) @ torch.cat(last).T


@torch.inference_mode()
def forward_time(pictures: Pictures, pooled: Read, cells: Read | None, depth: int | None) -> float:
    """Milliseconds from features to the embedding of one photo."""
    model = Contrastive(pictures, *(cells[0].shape[1:] if cells else (0, 0)), depth).eval()
    return milliseconds(lambda i: model(pooled[0][i : i + 1], cells and cells[0][i : i + 1]))


def classes(args: argparse.Namespace, known: Rows) -> Iterator[tuple[str, dict[str, float]]]:
    """The rows of the product: by default, and with the cells of each grid at each depth, without and with labels."""
    for grid, stem, backbone, depths in [
        ("default", "pooled", "efficientnet-lite0", (0,)),
        *((grid, "map", backbone, _DEPTHS) for grid, backbone in _GRIDS.items()),
    ]:
        reader = FeatureReader(stem, backbone=backbone, cache=default_cache())
        for seed in args.seeds:
            cell = None
            for depth, labels in product(depths, ("none", "folder")):
                what = (
                    f"{grid}, depth {depth}, {'labels' if labels == 'folder' else 'no labels'}, seed {seed}"
                )
                if what in known or any(map(what.startswith, filter(None, args.skip.split(";")))):
                    continue
                cell = cell or load_cell("classes", args.classes, args.size, seed, "validation", reader)
                settings = [f"labels={labels}", f"model.stem={stem}", f"model.depth={depth}"]
                index, facts = fit_product([*settings, f"model.backbone={backbone}", *args.settings], cell)
                values = measure(search_of(index, ""), cell)
                photos = [photo.path for photo in cell.searched]
                passes = search_time(index.state_, reader, photos) / search_time(
                    None, FeatureReader("pooled"), photos
                )
                yield (
                    what,
                    {
                        **{key: float(values[key].mean()) for key in ("MAP", "P@10", *_COPIES)},
                        "search": passes,
                        "training s": facts["fit s"],
                        "steps": facts["steps"],
                    },
                )


def search_time(state: IndexState | None, reader: FeatureReader, paths: Sequence[Source]) -> float:
    """Milliseconds of a pass of the backbone, and with an index of a search with the whole photo."""
    photos = [torch.tensor(load_square(path, 224)).permute(2, 0, 1)[None] for path in paths[:_TIMED]]

    def run(i: int) -> None:
        features = reader.features(photos[i % len(photos)])
        if state is not None:
            rank(state, features, SearchOptions())

    return milliseconds(run)


def table(rows: Rows) -> str:
    """Rows with the same columns as a table."""
    columns = list(next(iter(rows.values())))
    lines = ["| row | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    lines += [
        f"| {name} | " + " | ".join(f"{row[c]:.3f}" if c in row else "" for c in columns) + " |"
        for name, row in rows.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is missing, and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("given", nargs="+", metavar="NAME=FOLDER|key=value")
    parser.add_argument("--backgrounds", type=Path, required=True)
    parser.add_argument(
        "--classes", type=Path, required=True, help="a folder with a sub-folder for each class"
    )
    parser.add_argument("--limit", type=int, default=350, help="photos of each folder, by name")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--size", type=int, default=300, help="photos of --classes that are indexed")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0])
    parser.add_argument("--skip", default="", help="beginnings of rows of the product, between semicolons")
    parser.add_argument(
        "--only", nargs="+", choices=_TABLES, default=_TABLES, help="the tables that are measured"
    )
    parser.add_argument("-o", type=Path, default=Path("results/cells"))
    args = parser.parse_intermixed_args()
    args.sets, args.settings = named_folders(args.given)
    BACKBONES.setdefault(_STAGE, "cells:EarlierStage")
    commit, changed = commit_of(Path(__file__).parents[1], allow_dirty=True)
    file = args.o / "cells.json"
    facts: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    facts |= {
        "commit": commit,
        "changed files": changed,
        "machine": machine_class(),
        "arguments": {key: str(value) for key, value in vars(args).items() if key not in ("o", "given")},
    }
    args.o.mkdir(parents=True, exist_ok=True)
    for name, rows in zip(_TABLES, (instances, classes), strict=True):
        if name not in args.only:
            continue
        known = facts.setdefault(name, {})
        for row, values in rows(args, known):
            known[row] = {key: round(value, 4) for key, value in values.items()}
            print(row, known[row], file=sys.stderr, flush=True)
            with write_atomically(file) as stream:
                stream.write((json.dumps(facts, indent=1) + "\n").encode())
    with write_atomically(args.o / "cells.md") as stream:
        stream.write("\n".join(table(facts[name]) for name in _TABLES if facts.get(name)).encode())


if __name__ == "__main__":
    main()
