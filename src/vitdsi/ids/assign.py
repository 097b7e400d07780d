"""Assigning ids: the codes of all images of a new collection, as a trie."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vitdsi.backbones.features import are_pixels, pooled
from vitdsi.config import IndexConfig
from vitdsi.ids import IdContext, scheme_named
from vitdsi.ids.scheme import StoredFeatures
from vitdsi.ids.trie import Trie


def assign_ids(config: IndexConfig, features: Tensor, labels: Sequence[str] | None) -> Trie:
    """Give every image of a collection its id.

    Args:
        config: resolved settings, in which `ids.base` is set.
        features: (N, *shape) stored features.
        labels: the class of each image, or None.

    Raises:
        UsageError: the id scheme needs labels or features that the collection does not have.
    """
    assert config.ids.base is not None
    context = IdContext(
        len(features),
        config.ids.base,
        seed=config.seed,
        variable_length=config.ids.paper.variable_length,
        labels=labels,
        features=_pooled(features),
    )
    return Trie(scheme_named(config.ids.scheme).assign(context), config.ids.base)


def _pooled(features: Tensor) -> StoredFeatures | None:
    """Return one vector for each image (N, D), without a copy of what is pooled already; None for pixels."""
    if are_pixels(features):
        return None
    return features.numpy() if features.ndim == 2 else pooled(features).numpy()
