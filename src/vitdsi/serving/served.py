"""One state of an index, prepared for answering requests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from vitdsi.backbones.reader import FeatureReader
from vitdsi.ids.trie import NONE
from vitdsi.search.searcher import Searcher
from vitdsi.serving.errors import ApiError
from vitdsi.state import IndexState

__all__ = ["Served", "Stamp"]

_VERSION_LENGTH = 12  # hexadecimal digits of the content hash

Stamp = tuple[int, int, int]
"""What tells one content of `index.json` from another: its inode, time of change in nanoseconds, and size."""


@dataclass(frozen=True)
class Served:
    """A state that requests are answered from. A request keeps to the one that it began with.

    Attributes:
        state: the state.
        reader: turns photos into the features that the model of the state reads.
        stamp: which content of `index.json` it was read from.
    """

    state: IndexState
    reader: FeatureReader
    stamp: Stamp

    @property
    def generation(self) -> int:
        """The generation of the files that the state was read from or written to."""
        return self.state.generation

    @cached_property
    def searcher(self) -> Searcher:
        """What searches the state."""
        return Searcher(self.state)

    @cached_property
    def live(self) -> npt.NDArray[np.int64]:
        """The live ids, ascending."""
        ids: npt.NDArray[np.int64] = self.state.trie.live_ids().numpy()
        return ids

    def number(self, image_id: str) -> int:
        """Return the id of a live image that is given as image_id, or as an id in decimal digits.

        Raises:
            ApiError: 404, there is no such image.
        """
        (number,) = self.state.live_ids_of([image_id])
        if number == NONE and image_id.isascii() and image_id.isdecimal() and len(image_id) < 16:
            number = int(image_id)
        if not self.has(number):
            raise ApiError(404, f"there is no image {image_id[:200]!r} in this index")
        return number

    def has(self, number: int) -> bool:
        """Return whether an id is that of a live image."""
        return 0 <= number < len(self.state.image_ids) and bool(self.state.trie.live[number])

    def version(self, number: int) -> str:
        """Return what tells the content of an image from other contents, "" if it was not a file."""
        return self.state.hashes[number][:_VERSION_LENGTH]

    def name(self, number: int) -> str:
        """Return the image_id of an image as JSON can hold it: bytes of a file name that are not UTF-8 become �.

        Such an image is asked for by its id.
        """
        return self.state.image_ids[number].encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def image(self, number: int, facts: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return how an image is named, where its picture is, and the facts about it, as JSON values."""
        version = self.version(number)
        return {
            "image_id": self.name(number),
            "id": number,
            "thumb": f"/thumb/{number}" + (f"?v={version}" if version else ""),
            "metadata": self.state.metadata.rows([number])[number] if facts is None else facts,
        }
