"""Id schemes that sort images into a tree by their features: similar photos have codes that begin alike."""

from __future__ import annotations

import numpy as np

from vitdsi.ids.capacity import free_slots, shortest_length, spare_slots
from vitdsi.ids.codes import Codes
from vitdsi.ids.insertion import insert
from vitdsi.ids.scheme import Features, Growth, IdContext, IdScheme

BLOCK = 16_384  # images that are read together, to bound the memory


class TreeScheme(IdScheme):
    """Base class of schemes whose codes follow the features. They need room beside the images of each cluster."""

    follows_features = True
    slots_per_image = 3

    def _new_codes(self, growth: Growth) -> Codes:
        """Insert each image into the node whose images are most similar to it, or near that node where it is full."""
        features, new_features = growth.features_for(self.name)
        in_use, base, count = growth.in_use, growth.base, growth.count
        codes, width = growth.codes[in_use], growth.codes.shape[1]
        if not len(codes):
            return self.assign(IdContext(count, base, growth.seed, features=new_features))
        centre = features[in_use].mean(0)
        vectors, new = directions(features[in_use], centre), directions(new_features, centre)
        if count < free_slots(codes, base, width):
            found = insert(codes, base, width, vectors, new)
            if free_slots(np.concatenate([codes, found]), base, width):
                return found
        spare = spare_slots(codes)
        length = shortest_length(codes, base, width, count + spare)
        # Insert some images twice and drop their second codes, so that these slots stay free.
        return insert(codes, base, length, vectors, new[np.arange(count + spare) % count])[:count]


def directions(features: Features, centre: Features | None = None) -> Features:
    """Return unit vectors (N, D) from `centre` (D,), by default the mean of the features, to each of them (N, D)."""
    centre = features.mean(0) if centre is None else centre
    unit = np.empty_like(features)
    for start in range(0, len(features), BLOCK):
        moved = features[start : start + BLOCK] - centre
        unit[start : start + BLOCK] = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
    return unit
