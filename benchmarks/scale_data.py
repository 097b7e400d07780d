"""Collections of any size for the benchmark of scale: features that are derived from those of real photos.

A derived image lies between a photo and one of its 50 nearest others, at 0 to 45 % of the way, and is altered by a
share of 0 to 100 % of a measured alteration. So the derived images of a photo differ as near photos do, and their
density around a photo grows with N. Queries are derived images that are altered by another measured alteration, of
which none was used for the collection.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from shared import altered_features, pooled_reader
from torch import Tensor

from vitdsi.neighbours import nearest
from vitdsi.photos.find import scan_folder

_NEIGHBOURS = 50
_FURTHEST = 0.45
_ALTERED = 768  # photos of which an altered copy is read
_BLOCK = 20_000


@dataclass(frozen=True)
class Real:
    """Features of real photos (n, F), and measured differences of altered copies (d, F), in float32."""

    features: Tensor
    differences: Tensor


def real_photos(folders: list[Path]) -> Real:
    """Read the photos of the folders, through the feature cache."""
    records = [record for folder in folders for record in scan_folder(folder, "none")]
    reader = pooled_reader()
    read = reader.load([record.path for record in records])
    chosen = np.random.default_rng(0).permutation(read.kept)[:_ALTERED]
    altered = altered_features(reader, [records[i] for i in chosen])
    place = {int(row): i for i, row in enumerate(read.kept)}
    own = read.features[[place[int(i)] for i in chosen]]
    return Real(read.features.float(), altered.float() - own.float())


@dataclass(frozen=True)
class Derived:
    """A collection of N derived images, and queries.

    Attributes:
        features: (N, F) float16, a file that is mapped to memory.
        queries: (Q, F) features of altered copies of some of them.
        own: (Q,) the images that the queries show.
        differences: (d, F) the alterations that a build may learn from.
    """

    features: Tensor
    queries: Tensor
    own: Tensor
    differences: Tensor


def derive(real: Real, count: int, queries: int, file: Path, seed: int = 0) -> Derived:
    """Derive `count` images, the first of which are the photos themselves, and write their features to `file`."""
    rng = np.random.default_rng([seed, count])
    near = nearest(real.features, real.features, _NEIGHBOURS + 1)[0][:, 1:].numpy()
    width, photos = real.features.shape[1], len(real.features)
    third = len(real.differences) // 3
    own, learned, asked = real.differences.split([third, third, len(real.differences) - 2 * third])
    array = np.lib.format.open_memmap(file, "w+", np.float16, (count, width))
    for start in range(0, count, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, count))
        base = rng.integers(photos, size=len(rows))
        other = near[base, rng.integers(_NEIGHBOURS, size=len(rows))]
        share = torch.from_numpy(rng.uniform(0, _FURTHEST, len(rows))).float()[:, None]
        strength = torch.from_numpy(rng.uniform(0, 1, len(rows))).float()[:, None]
        made = (1 - share) * real.features[base] + share * real.features[other]
        made = (made + strength * own[rng.integers(third, size=len(rows))]).clamp(min=0)
        real_rows = rows < photos
        made[real_rows] = real.features[rows[real_rows]]
        array[rows] = made.half().numpy()
    array.flush()
    features = torch.from_numpy(np.load(file, mmap_mode="r+"))
    shown = torch.from_numpy(np.sort(rng.permutation(count)[:queries]))
    altered = asked[torch.from_numpy(rng.integers(len(asked), size=len(shown)))]
    return Derived(features, (features[shown].float() + altered).clamp(min=0).half(), shown, learned)
