from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from helpers_duplicates import index_with_copies

from vitdsi.backbones.reader import ReadPhotos
from vitdsi.collection.held import ComparedPhoto, compare_with_index
from vitdsi.errors import ImageReadError


class KnownPhotos:
    """A reader for which the photo b"i" has the stored features and thumbnail of image i, and other photos none."""

    def load(self, sources: Sequence[bytes], **_: object) -> ReadPhotos:
        state = index_with_copies()
        assert state.features is not None and state.thumbnails is not None
        kept = [place for place, source in enumerate(sources) if source.isdigit()]
        rows = [int(sources[place]) for place in kept]
        hashes = [state.hashes[i] if i == 9 else "" for i in rows]
        errors = [ImageReadError("photo", "no image")] * (len(sources) - len(kept))
        return ReadPhotos(np.array(kept), state.features[rows], state.thumbnails.all()[rows], hashes, errors)


def test_photos_are_compared_in_order_and_unreadable_ones_are_listed() -> None:
    state = index_with_copies()
    photos, skipped = compare_with_index(state, [b"5", b"x", b"9"], KnownPhotos(), 1.04)  # type: ignore[arg-type]
    ids = state.image_ids
    assert photos == [
        ComparedPhoto("000000", b"5", (ids[5], ids[62]), 0),
        ComparedPhoto("000002", b"9", (ids[9], ids[64]), 1),
    ]
    assert [error.reason for error in skipped] == ["no image"]


def test_photo_that_shows_something_new_has_no_copies() -> None:
    class NewPhoto(KnownPhotos):
        def load(self, sources: Sequence[bytes], **given: object) -> ReadPhotos:
            read = super().load(sources, **given)
            noise = torch.randint(0, 256, (1, 32, 32), generator=torch.Generator().manual_seed(1))
            return ReadPhotos(read.kept, -read.features, noise.byte(), read.hashes, [])

    ((photo,), _) = compare_with_index(index_with_copies(), [b"3"], NewPhoto(), 1.04)  # type: ignore[arg-type]
    assert photo.copies == () and photo.same_bytes == 0
