"""What an id scheme may look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class IdContext:
    """Everything a scheme may use to give `count` images their codes.

    Attributes:
        count: number of images, N.
        base: digits are 0 .. base - 1.
        seed: the same seed gives the same codes.
        variable_length: number-writing schemes drop leading zeros and end with EOS.
        labels: one class an image, or None.
        features: (N, D) float32 pooled features, or None.
    """

    count: int
    base: int
    seed: int = 0
    variable_length: bool = False
    labels: Sequence[str] | None = None
    features: npt.NDArray[np.float32] | None = None
