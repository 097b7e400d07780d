"""What brings a photographed picture back? A ladder over synthetic photos of indexed pictures.

    python benchmarks/photographed.py NAME=FOLDER ... --backgrounds FOLDER [--queries N] [--views V] [-o DIR]
                                      [key=value ...]

All photos of the folders are indexed together. N of them are photographed: hard views of 448 pixels (see
`vitdsi.photos.hard_views`) on photos of --backgrounds, which are not indexed, with seeds that training never uses. So
the effects are those that the index learns from, on other draws and other backgrounds: these figures say which step
brings what, not how well real photos are found (see `instances.py`).

Each rung searches every picture exhaustively, with the whole query, with the best of its 5 parts, and with the best of
each part in turns: roots on half-whitened axes, which knows no hard views; the map that is learned from V of them, with
the vectors of the pictures alone or drawn towards their views, for several V; the same map trained further with a
contrastive loss over all pictures, with free vectors or not, or over the most probable images of the index before
training (hard negatives from its beams); and the index before and after training, by the likeness of pictures and by
its probabilities, with what it verifies as the column of turns. `cells.py` adds a transformer over the cells of the
feature map to the contrastive map.

Settings (key=value) are those of the product. Writes DIR/ladder.json and DIR/ladder.md (results/photographed).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contrastive import contrastive
from locked import commit_of
from PIL import Image
from shared import fit, named_folders
from torch import Tensor

from vitdsi.backbones.cache import default_cache
from vitdsi.backbones.reader import FeatureReader
from vitdsi.backbones.views import read_views
from vitdsi.config import load_config
from vitdsi.files import write_atomically
from vitdsi.model.pictures import (
    Pictures,
    embed_pictures,
    pictures_from_features,
    pictures_from_views,
)
from vitdsi.paper.machine import machine_class
from vitdsi.photos.decode import Pixels, Source, content_hash, decode
from vitdsi.photos.find import find_images, scan_folder
from vitdsi.photos.hard_views import hard_view
from vitdsi.photos.regions import parts_of, read_region
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank, rankings
from vitdsi.search.verify import VERIFIED_AT_ONCE
from vitdsi.training.hard_views import read_hard_views

_SIDE, _PARTS, _DIM = 448, 5, 384
SEED = 987_654_321
_NEGATIVES = 50  # of a view, the most probable images of the index

Embed = Callable[[Tensor], Tensor]


def photograph(i: int, picture: Source, backgrounds: list[Path]) -> Image.Image:
    """The synthetic photo of number `i`: a hard view of a picture in front of one of the backgrounds."""
    rng = np.random.default_rng([SEED, i])
    behind = np.asarray(decode(backgrounds[int(rng.integers(len(backgrounds)))], min_side=_SIDE))
    return Image.fromarray(hard_view(np.asarray(decode(picture, min_side=_SIDE)), behind, _SIDE, rng))


def read_queries(reader: FeatureReader, paths: list[Path], backgrounds: list[Path]) -> Tensor:
    """Photograph pictures, and read the photos in parts: (N, P, *shape)."""

    def make(i: int, source: Source, wanted: Any) -> list[Pixels]:
        photo = photograph(i, source, backgrounds)
        regions = parts_of(*photo.size, _PARTS)
        return [read_region(photo, regions[part], reader.image_size) for part in wanted]

    names = [[f"{content_hash(path)}{SEED + part:x}"[-40:] for part in range(_PARTS)] for path in paths]
    return read_views(reader, paths, names, make, f"photographed{len(backgrounds)}")


def measured(scores: Tensor, wanted: Tensor) -> dict[str, float]:
    """R@1 and R@50 of scores (N, P, M) for the pictures `wanted` (N,), with the whole query and with all parts."""
    found = {}
    for name, best in (("whole", scores[:, 0]), ("parts", scores.amax(1))):
        place = (best > best.gather(1, wanted[:, None])).sum(1)
        found[f"{name} R@1"] = float((place == 0).float().mean())
        found[f"{name} R@50"] = float((place < 50).float().mean())
    parts = torch.arange(scores.shape[1])[:, None]
    turns = (scores.argsort(2, descending=True).argsort(2) * len(parts) + parts).amin(1)
    place = (turns < turns.gather(1, wanted[:, None])).sum(1)
    return {**found, "turns R@50": float((place < 50).float().mean())}


def by_map(pictures: Pictures, rows: Tensor, queries: Tensor) -> Tensor:
    """Cosines (N, P, M) of queries (N, P, F) with the vectors of pictures (M, D), under a map."""
    return embed_pictures(queries.float(), pictures.mean, pictures.weight) @ rows.T


def alone(pictures: Pictures, features: Tensor) -> Tensor:
    """The vectors (M, D) of the pictures without their views."""
    return embed_pictures(features.float(), pictures.mean, pictures.weight)


def rungs(pooled: tuple[Tensor, Tensor, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The rungs without the decoder: their names, and scores (N, P, M)."""
    features, views, queries = pooled
    whitened = pictures_from_features(features.float(), _DIM)
    yield "half-whitened roots", by_map(whitened, whitened.rows, queries)
    for count in sorted({1, 2, views.shape[1] // 2, views.shape[1]} - {0}):
        pictures = pictures_from_views(features, views[:, :count], _DIM)
        yield f"map of {count} hard views", by_map(pictures, alone(pictures, features), queries)
        yield f"map of {count} hard views, vectors drawn to them", by_map(pictures, pictures.rows, queries)
    yield "contrastive map, vectors follow it", contrastive(pictures, pooled, free=False)
    yield "contrastive map, free vectors", contrastive(pictures, pooled, free=True)


def of_index(
    state: Any, queries: Tensor, wanted: Tensor, name: str
) -> Iterator[tuple[str, dict[str, float]]]:
    """What the index finds by probability, and by relevance, among its own candidates."""
    for how, rerank in (("probability", False), ("relevance", True)):
        found = {}
        for parts in (1, _PARTS):
            ids = np.concatenate(
                [
                    rank(state, part.flatten(0, 1).float(), SearchOptions(50, rerank=rerank), parts=parts).ids
                    for part in torch.split(queries[:, :parts], 16)
                ]
            )
            right = ids == wanted.numpy()[:, None]
            label = "whole" if parts == 1 else "parts"
            found |= {f"{label} R@1": float(right[:, 0].mean()), f"{label} R@50": float(right.any(1).mean())}
        yield f"{name}, by {how}", {**found, "turns R@50": verified_recall(state, queries, wanted)}


def verified_recall(state: Any, queries: Tensor, wanted: Tensor) -> float:
    """How often the picture is among those that the index would verify at first."""
    found = 0
    for query, picture in zip(queries, wanted.tolist(), strict=True):
        ranking = rank(
            state, query.float(), SearchOptions(VERIFIED_AT_ONCE), parts=_PARTS, alike=VERIFIED_AT_ONCE
        )
        found += bool(((ranking.ids == picture) & (ranking.picture_places >= 0)).any())
    return found / len(wanted)


def beams(state: Any, views: Tensor) -> Tensor:
    """The most probable images (M, V, K) of views (M, V, F)."""
    found = rankings(state, views.flatten(0, 1), SearchOptions(_NEGATIVES, rerank=False))
    return torch.from_numpy(found).view(*views.shape[:2], -1)


def main() -> None:
    """Measure all rungs, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("arguments", nargs="+", metavar="NAME=FOLDER|key=value")
    parser.add_argument("--backgrounds", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--views", type=int, default=6)
    parser.add_argument("--limit", type=int, default=2_000, help="photos of each folder, by name")
    parser.add_argument("-o", type=Path, default=Path("results/photographed"))
    given = parser.parse_args()
    commit, changed = commit_of(Path(__file__).parents[1], allow_dirty=True)
    sets, overrides = named_folders(given.arguments)
    records = [record for folder in sets.values() for record in scan_folder(folder, "none")[: given.limit]]
    paths, backgrounds = [record.path for record in records], find_images(given.backgrounds)[::7]
    hashes = [content_hash(path) for path in paths]
    wanted = torch.from_numpy(np.random.default_rng(SEED).choice(len(paths), given.queries, replace=False))
    asked = [paths[i] for i in wanted.tolist()]

    reader = FeatureReader("pooled", cache=default_cache())
    views = read_hard_views(paths, hashes, reader, given.views, 0)
    pooled = reader.load(paths).features, views, read_queries(reader, asked, backgrounds)
    table: dict[str, dict[str, float]] = {}
    for name, scores in rungs(pooled):
        table[name] = measured(scores, wanted)
        print(name, table[name], file=sys.stderr, flush=True)
    for name, more in (
        ("index before training", ["training.max_epochs=0", "training.learning_rate=1e-12"]),
        ("index", []),
    ):
        start = time.process_time()
        state = fit(load_config(overrides=["keypoints=0", *overrides, *more]), records).state_
        print(name, round(time.process_time() - start), "s", file=sys.stderr, flush=True)
        table |= of_index(state, pooled[2], wanted, name)
        if more:
            pictures = pictures_from_views(pooled[0], pooled[1], _DIM)
            hard = beams(state, pooled[1])
            for label, all_too in (("negatives from beams", False), ("those and all", True)):
                scores = contrastive(pictures, pooled, free=True, negatives=hard, all_too=all_too)
                table[f"contrastive map, free vectors, {label}"] = measured(scores, wanted)
        print(
            {name: row for name, row in table.items() if "index" in name or "beams" in name}, file=sys.stderr
        )
    columns = list(next(iter(table.values())))
    lines = ["| step | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    lines += [
        f"| {name} | " + " | ".join(f"{row[c]:.3f}" for c in columns) + " |" for name, row in table.items()
    ]
    facts = {
        "commit": commit,
        "changed files": changed,
        "machine": machine_class(),
        "sets": list(sets),
        "indexed": len(paths),
        "queries": given.queries,
        "views": given.views,
        "settings": overrides,
        "table": table,
    }
    given.o.mkdir(parents=True, exist_ok=True)
    for name, text in (("ladder.json", json.dumps(facts, indent=1)), ("ladder.md", "\n".join(lines))):
        with write_atomically(given.o / name) as stream:
            stream.write(f"{text}\n".encode())


if __name__ == "__main__":
    main()
