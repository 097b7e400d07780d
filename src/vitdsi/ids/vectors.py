"""Features as id schemes compare them: directions from the centre of the collection."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


def directions(features: Vectors, centre: Vectors | None = None) -> Vectors:
    """Unit vectors (N, D) from `centre` (D,), or from the mean of the features, to each of the features (N, D)."""
    moved = features - (features.mean(0) if centre is None else centre)
    unit: Vectors = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
    return unit


def distinct(rows: Vectors, enough: int) -> int:
    """How many rows differ, counted no further than `enough`; by their bytes, as sums of equal rows may differ."""
    seen: set[bytes] = set()
    for row in rows:
        seen.add(row.tobytes())
        if len(seen) >= enough:
            break
    return len(seen)
