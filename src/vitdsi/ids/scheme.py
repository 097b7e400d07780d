"""What an id scheme is: one object that gives the images of a collection their codes.

Schemes that write numbers derive from `NumberScheme`, schemes that sort images into a tree from `TreeScheme`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.ids.capacity import capacity_left, has_variable_length, in_use, no_slots_left
from vitdsi.ids.codes import Codes, Vocabulary

Features = npt.NDArray[np.float32]
StoredFeatures = npt.NDArray[np.floating[Any]]

_SMALLEST_BASE, _LARGEST_BASE = 16, 256


@dataclass(frozen=True)
class IdContext:
    """What a scheme may use to give `count` images their codes.

    Attributes:
        count: the number of images, N.
        base: digits are 0 .. base - 1.
        seed: the same seed gives the same codes.
        variable_length: schemes that write numbers drop leading zeros and end with EOS.
        labels: the class of each image, or None.
        features: (N, D) pooled features of any floating-point type, perhaps mapped from a file, or None.
    """

    count: int
    base: int
    seed: int = 0
    variable_length: bool = False
    labels: Sequence[str] | None = None
    features: StoredFeatures | None = None


@dataclass(frozen=True)
class Growth:
    """What a scheme may use to give codes to images that are added later.

    Attributes:
        codes: (N, L) existing codes; rows of PAD are ids that have no code.
        live: (N,) which ids are in use. The codes of all others are free and may be given again.
        count: the number of new images, n.
        base: digits are 0 .. base - 1.
        seed: the same seed gives the same codes.
        features: (N, D) pooled features of the existing images, or None. Rows of ids that are not live are not read.
        new_features: (n, D) pooled features of the new images, or None.
        labels: the class of each existing image, or None.
        new_labels: the class of each new image, or None.
    """

    codes: Codes
    live: npt.NDArray[np.bool_]
    count: int
    base: int
    seed: int = 0
    features: Features | None = None
    new_features: Features | None = None
    labels: Sequence[str] | None = None
    new_labels: Sequence[str] | None = None

    @property
    def in_use(self) -> npt.NDArray[np.bool_]:
        """Which rows (N,) of `codes` are live and have a code. Raises UsageError unless `live` has N rows."""
        return in_use(self.codes, self.live, self.base)

    @property
    def live_codes(self) -> Codes:
        """The codes in use, (M, L)."""
        return self.codes[self.in_use]

    @property
    def variable_length(self) -> bool:
        """Whether existing codes end with EOS."""
        return has_variable_length(self.codes, self.base)

    def features_for(self, scheme: str) -> tuple[Features, Features]:
        """Return the features of existing and new images. Raises UsageError unless each image has a row.

        The error names `scheme`.
        """
        old, new = self.features, self.new_features
        if old is None or new is None or len(old) != len(self.codes) or len(new) != self.count:
            raise self._incomplete(scheme, "features")
        return old, new

    def labels_for(self, scheme: str) -> tuple[Sequence[str], Sequence[str]]:
        """Return the classes of existing and new images. Raises UsageError unless each image has one.

        The error names `scheme`.
        """
        old, new = self.labels, self.new_labels
        if old is None or new is None or len(old) != len(self.codes) or len(new) != self.count:
            raise self._incomplete(scheme, "classes")
        return old, new

    def _incomplete(self, scheme: str, what: str) -> UsageError:
        return UsageError(
            f"ids.scheme {scheme!r} needs {what} of all {len(self.codes)} images and of the {self.count} new ones"
        )


class IdScheme(ABC):
    """A way to give images their codes. Objects hold no state, and equal arguments give equal codes.

    Attributes:
        name: the value of the configuration key ids.scheme.
        follows_features: similar photos get codes that begin alike, so that the model itself can place new images.
        slots_per_image: how many codes of two digits the default base provides for each image.
    """

    name: ClassVar[str]
    follows_features: ClassVar[bool] = False
    slots_per_image: ClassVar[int] = 1

    def default_base(self, count: int) -> int:
        """Return the smallest power of two whose two-digit codes provide `slots_per_image` for each of `count` images.

        The result is at least 16 and at most 256.
        Fewer and wider steps lose fewer neighbours and are learned faster, as measured in EXPERIMENTS.md.
        """
        digit_values = math.sqrt(self.slots_per_image * max(count, 1))
        return min(_LARGEST_BASE, max(_SMALLEST_BASE, 1 << math.ceil(math.log2(digit_values))))

    @abstractmethod
    def assign(self, context: IdContext) -> Codes:
        """Give all images of a collection prefix-free codes (N, L).

        Raises UsageError where the scheme needs labels or features that the context does not have.
        """

    def grow(self, growth: Growth) -> Codes:
        """Give codes (n, L'), L' >= L, to new images. Existing codes never change, except for PAD on the right.

        The new codes and the live ones together are prefix-free. Codes become longer where the free slots do not
        suffice, and already where they just would. Below one free slot there is room for any number of longer codes,
        so the last one is never used up. Numbers that end with EOS always have room.

        Raises:
            UsageError: no slot is free, the codes would become too long, or the scheme needs labels or features that
                `growth` does not have.
        """
        images, length = int(growth.in_use.sum()), growth.codes.shape[1]
        if growth.count == 0:
            return np.empty((0, length), dtype=np.int64)
        if not growth.variable_length and capacity_left(growth.codes, growth.live, growth.base) == 0:
            raise no_slots_left(images, growth.base, length, growth.count)
        codes = self._new_codes(growth)
        missing = max(0, length - codes.shape[1])
        return np.pad(codes, ((0, 0), (0, missing)), constant_values=Vocabulary(growth.base).pad)

    @abstractmethod
    def _new_codes(self, growth: Growth) -> Codes:
        """Return the codes of the new images, at least one; there is room for them."""
