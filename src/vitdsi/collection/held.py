"""Photos of a folder that an index holds already, in whatever version."""

from __future__ import annotations

from dataclasses import dataclass

from vitdsi.backbones.reader import FeatureReader
from vitdsi.collection.read import Images, read_collection
from vitdsi.columns.hashes import HASH_DIGITS
from vitdsi.errors import ImageReadError
from vitdsi.photos.decode import Source
from vitdsi.progress import OnProgress
from vitdsi.search.copies import copies_in_index
from vitdsi.state import IndexState

__all__ = ["ComparedPhoto", "compare_with_index"]


@dataclass(frozen=True)
class ComparedPhoto:
    """A photo that was compared with an index.

    Attributes:
        image_id: the image_id that the photo would have.
        source: the photo as it was given.
        copies: the image_ids of the index that show the same picture, files with the same bytes first.
        same_bytes: how many of them have the same bytes.
    """

    image_id: str
    source: Source
    copies: tuple[str, ...]
    same_bytes: int


def compare_with_index(
    state: IndexState,
    images: Images,
    reader: FeatureReader,
    threshold: float,
    on_progress: OnProgress = None,
) -> tuple[list[ComparedPhoto], tuple[ImageReadError, ...]]:
    """Compare photos with an index, which does not change.

    Returns:
        The photos that could be read, in order, and the files that could not.

    Raises:
        UsageError: the index keeps nothing that pictures can be compared by, or the folder cannot be read.
    """
    given = read_collection(images, None, reader, on_progress, by_folder=False)
    found = copies_in_index(state, given.features, given.thumbnails, given.hashes, threshold)
    photos = [
        ComparedPhoto(
            image_id,
            source,
            tuple(state.image_ids[i] for i in ids),
            sum(bool(content) and state.hashes[i] == content[:HASH_DIGITS] for i in ids),
        )
        for image_id, source, content, ids in zip(
            given.image_ids, given.sources, given.hashes, found, strict=True
        )
    ]
    return photos, given.skipped
