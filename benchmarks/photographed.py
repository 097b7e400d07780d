"""What brings a photographed picture back? A ladder over synthetic photos of indexed pictures.

    python benchmarks/photographed.py NAME=FOLDER ... --backgrounds FOLDER [--queries N] [--views V] [-o DIR]
                                      [--attention] [key=value ...]

All photos of the folders are indexed together. N of them are photographed: hard views of 448 pixels (see
`vitdsi.photos.hard_views`) on photos of --backgrounds, which are not indexed, with seeds that training never uses. So
the effects are those that the index learns from, on other draws and other backgrounds: these figures say which step
brings what, not how well real photos are found (see `instances.py`).

Each rung searches every picture exhaustively, with the whole query and with the best of its 5 parts: roots on
half-whitened axes, which knows no hard views; the map that is learned from V of them, with the vectors of the pictures
alone or drawn towards their views, for several V; the same map trained further with a contrastive loss over all
pictures, with free vectors or not; and the index before and after training, by the likeness of pictures and by its
probabilities. --attention adds what a transformer over the cells of the feature map brings to the contrastive map.

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
import torch.nn.functional as F
from locked import commit_of
from PIL import Image
from shared import fit, named_folders
from torch import Tensor, nn

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
    signed_root,
)
from vitdsi.paper.machine import machine_class
from vitdsi.photos.decode import Pixels, Source, content_hash, decode
from vitdsi.photos.find import find_images, scan_folder
from vitdsi.photos.hard_views import hard_view
from vitdsi.photos.regions import parts_of, read_region
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank
from vitdsi.training.hard_views import read_hard_views

_SIDE, _PARTS, _DIM = 448, 5, 384
_SEED = 987_654_321
_BATCH, _STEPS, _RATE = 256, 500, 3e-4

Embed = Callable[[Tensor], Tensor]


def read_queries(reader: FeatureReader, paths: list[Path], backgrounds: list[Path]) -> Tensor:
    """Photograph pictures, and read the photos in parts: (N, P, *shape)."""

    def make(i: int, source: Source, wanted: Any) -> list[Pixels]:
        rng = np.random.default_rng([_SEED, i])
        behind = np.asarray(decode(backgrounds[int(rng.integers(len(backgrounds)))], min_side=_SIDE))
        photo = Image.fromarray(hard_view(np.asarray(decode(source, min_side=_SIDE)), behind, _SIDE, rng))
        regions = parts_of(*photo.size, _PARTS)
        return [read_region(photo, regions[part], reader.image_size) for part in wanted]

    names = [[f"{content_hash(path)}{_SEED + part:x}"[-40:] for part in range(_PARTS)] for path in paths]
    return read_views(reader, paths, names, make, f"photographed{len(backgrounds)}")


def measured(scores: Tensor, wanted: Tensor) -> dict[str, float]:
    """R@1 and R@50 of scores (N, P, M) for the pictures `wanted` (N,), with the whole query and with all parts."""
    found = {}
    for name, best in (("whole", scores[:, 0]), ("parts", scores.amax(1))):
        place = (best > best.gather(1, wanted[:, None])).sum(1)
        found[f"{name} R@1"] = float((place == 0).float().mean())
        found[f"{name} R@50"] = float((place < 50).float().mean())
    return found


def by_map(pictures: Pictures, rows: Tensor, queries: Tensor) -> Tensor:
    """Cosines (N, P, M) of queries (N, P, F) with the vectors of pictures (M, D), under a map."""
    return embed_pictures(queries.float(), pictures.mean, pictures.weight) @ rows.T


def alone(pictures: Pictures, features: Tensor) -> Tensor:
    """The vectors (M, D) of the pictures without their views."""
    return embed_pictures(features.float(), pictures.mean, pictures.weight)


class Contrastive(nn.Module):
    """A map that starts as that of the hard views, with `depth` blocks of attention over the cells of a feature map."""

    def __init__(self, pictures: Pictures, cells: int, channels: int, depth: int | None) -> None:
        super().__init__()
        self.mean = pictures.mean
        self.weight = nn.Parameter(pictures.weight.clone())
        self.depth = depth
        if depth is not None:
            self.norm, self.project = nn.LayerNorm(channels), nn.Linear(channels, 192)
            self.positions = nn.Parameter(0.02 * torch.randn(cells, 192))
            layer = nn.TransformerEncoderLayer(
                192, 4, 384, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False) if depth else None
            self.out = nn.Linear(192, len(pictures.weight))
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, pooled: Tensor, cells: Tensor | None) -> Tensor:
        vectors = (signed_root(pooled.float()) - self.mean) @ self.weight.T
        if cells is not None:
            tokens = self.project(self.norm(cells.float())) + self.positions
            tokens = tokens if self.encoder is None else self.encoder(tokens)
            vectors = vectors + self.out(tokens.mean(1)) * vectors.norm(dim=1).mean().detach()
        return F.normalize(vectors, dim=1)


def contrastive(
    pictures: Pictures,
    pooled: tuple[Tensor, Tensor, Tensor],
    cells: tuple[Tensor, Tensor, Tensor] | None,
    *,
    free: bool,
    depth: int | None = None,
) -> Tensor:
    """Train a map with a contrastive loss over all pictures, and return the cosines (N, P, M) of the queries.

    Args:
        pooled: features of the pictures (M, F), of their views (M, V, F) and of the queries (N, P, F).
        cells: the same of feature maps (M, G * G, C) and so on, or None to use pooled features alone.
        free: the vectors of the pictures are trained as well, instead of following the map.
    """
    torch.manual_seed(0)
    model = Contrastive(pictures, *(cells[0].shape[1:] if cells else (0, 0)), depth)
    rows = nn.Parameter(pictures.rows.clone())
    scale = nn.Parameter(torch.tensor(3.0))
    groups = [{"params": [model.weight, *([rows] if free else [])], "rate": _RATE}]
    groups += [{"params": [p for n, p in model.named_parameters() if n != "weight"], "rate": 1e-3}]
    optimizer = torch.optim.AdamW([*groups, {"params": [scale], "rate": 1e-2}], lr=0.0, weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    views = pooled[1].shape[1]

    def embed(which: int, at: tuple[Tensor, ...]) -> Tensor:
        return model(pooled[which][at], None if cells is None else cells[which][at])

    def vectors() -> Tensor:
        """Those of the pictures, drawn towards their views as in the product."""
        with torch.no_grad():
            own = torch.cat([embed(0, (part,)) for part in torch.arange(len(rows)).split(_BATCH)])
            seen = torch.stack(
                [
                    torch.cat(
                        [embed(1, (p, torch.full_like(p, v))) for p in torch.arange(len(rows)).split(_BATCH)]
                    )
                    for v in range(views)
                ]
            )
            return F.normalize(own + 2 * seen.mean(0), dim=1)

    for step in range(_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * min(1.0, step / 50, 2 * (1 - step / _STEPS))
        if not free and step % 50 == 0:
            rows.data = vectors()
        images = torch.randint(len(rows), (_BATCH,), generator=generator)
        chosen = torch.randint(views, (_BATCH,), generator=generator)
        cosines = embed(1, (images, chosen)) @ F.normalize(rows, dim=1).T
        loss = F.cross_entropy(scale.exp() * cosines, images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        last = F.normalize(rows, dim=1) if free else vectors()
        count, parts = pooled[2].shape[:2]
        asked = torch.stack(
            [embed(2, (torch.arange(count), torch.full((count,), p))) for p in range(parts)], 1
        )
        return asked @ last.T


def rungs(
    pooled: tuple[Tensor, Tensor, Tensor], cells: tuple[Tensor, Tensor, Tensor] | None
) -> Iterator[tuple[str, Tensor]]:
    """The rungs without the decoder: their names, and scores (N, P, M)."""
    features, views, queries = pooled
    whitened = pictures_from_features(features.float(), _DIM)
    yield "half-whitened roots", by_map(whitened, whitened.rows, queries)
    for count in sorted({1, 2, views.shape[1] // 2, views.shape[1]} - {0}):
        pictures = pictures_from_views(features, views[:, :count], _DIM)
        yield f"map of {count} hard views", by_map(pictures, alone(pictures, features), queries)
        yield f"map of {count} hard views, vectors drawn to them", by_map(pictures, pictures.rows, queries)
    yield "contrastive map, vectors follow it", contrastive(pictures, pooled, None, free=False)
    yield "contrastive map, free vectors", contrastive(pictures, pooled, None, free=True)
    if cells is not None:
        for depth in (0, 1, 2):
            name = f"contrastive map with {depth} blocks over the feature map"
            yield name, contrastive(pictures, pooled, cells, free=False, depth=depth)


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
        yield f"{name}, by {how}", found


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
    parser.add_argument("--attention", action="store_true")
    parser.add_argument("-o", type=Path, default=Path("results/photographed"))
    given = parser.parse_args()
    commit, changed = commit_of(Path(__file__).parents[1], allow_dirty=True)
    sets, overrides = named_folders(given.arguments)
    records = [record for folder in sets.values() for record in scan_folder(folder, "none")[: given.limit]]
    paths, backgrounds = [record.path for record in records], find_images(given.backgrounds)[::7]
    hashes = [content_hash(path) for path in paths]
    wanted = torch.from_numpy(np.random.default_rng(_SEED).choice(len(paths), given.queries, replace=False))
    asked = [paths[i] for i in wanted.tolist()]

    def read(kind: str) -> tuple[Tensor, Tensor, Tensor]:
        reader = FeatureReader(kind, cache=default_cache())
        views = read_hard_views(paths, hashes, reader, given.views, 0)
        return reader.load(paths).features, views, read_queries(reader, asked, backgrounds)

    pooled = read("pooled")
    table: dict[str, dict[str, float]] = {}
    for name, scores in rungs(pooled, read("map") if given.attention else None):
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
