"""A collection of codes with random features and classes that images join and leave, for tests of id schemes."""

from __future__ import annotations

import numpy as np

from vitdsi.ids import Growth, IdScheme, scheme_named
from vitdsi.ids.trie import Trie

CLASSES = ("cat", "dog", "eel", "fox")


class GrowingCollection:
    """Codes with random features and classes; `live` says which images are still there."""

    def __init__(self, codes: np.ndarray, base: int, seed: int, width: int = 6) -> None:
        self.base, self.width, self.rng = base, width, np.random.default_rng(seed)
        self.codes, self.live = codes, np.ones(len(codes), dtype=bool)
        self.features = self.random_features(len(codes))
        self.labels = self.rng.choice(CLASSES, len(codes)).tolist()

    def random_features(self, count: int) -> np.ndarray:
        return self.rng.normal(size=(count, self.width)).astype(np.float32)

    def grow(
        self, scheme: str | IdScheme, features: np.ndarray, labels: list[str], seed: int = 0
    ) -> np.ndarray:
        """The codes that a scheme gives to new images, without adding them."""
        growth = Growth(
            self.codes,
            self.live,
            len(features),
            self.base,
            seed,
            features=self.features,
            new_features=features,
            labels=self.labels,
            new_labels=labels,
        )
        return (scheme_named(scheme) if isinstance(scheme, str) else scheme).grow(growth)

    def add(self, scheme: str | IdScheme, count: int) -> np.ndarray:
        """Add random images, and check what must hold for all of them."""
        features, labels = self.random_features(count), self.rng.choice(CLASSES, count).tolist()
        before = self.codes.copy()
        new = self.grow(scheme, features, labels)
        np.testing.assert_array_equal(self.codes, before)
        np.testing.assert_array_equal(self.grow(scheme, features, labels), new)
        assert new.shape[0] == count and new.shape[1] >= before.shape[1]
        wider = ((0, 0), (0, new.shape[1] - before.shape[1]))
        self.codes = np.concatenate([np.pad(before, wider, constant_values=self.base + 1), new])
        self.live = np.r_[self.live, np.ones(count, dtype=bool)]
        self.features = np.concatenate([self.features, features])
        self.labels += labels
        trie = Trie(self.codes[self.live], self.base)  # refuses codes that are not prefix-free
        assert len(trie.live_ids()) == self.live.sum()
        return new
