"""Names: a sequence of texts, such as the image_ids of a collection, in which a name is found without reading all."""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from vitdsi.columns.segments import Array, Ids, Ragged, segments_to_keep

__all__ = ["Names"]


@dataclass(frozen=True)
class _Segment:
    """Some names, and their hashes.

    Attributes:
        text: the UTF-8 bytes of each name.
        hashes: (n,) int64 hashes of the names, ascending.
        order: (n,) int32, the rows that these hashes belong to; equal hashes are in the order of their rows.
    """

    text: Ragged
    hashes: Ids
    order: Array

    def __len__(self) -> int:
        return len(self.order)

    def hashes_by_row(self) -> Ids:
        hashes = np.empty_like(self.hashes)
        hashes[self.order] = self.hashes
        return hashes

    def bytes_of(self, row: int) -> bytes:
        return self.text[row].tobytes()


class Names(Sequence[str]):
    """An immutable sequence of N texts, which compares equal to any sequence of the same texts.

    The texts are one block of UTF-8 bytes. Beside it is a sorted array of 64-bit hashes, in which a name is looked up
    by bisection; what is found is compared with the name. So neither opening the sequence nor a look-up reads all
    names, and files can be memory-mapped. Names may repeat.

    Attributes:
        lineage: a random text that all sequences share that grew from the same one. The first names of two sequences
            with the same lineage are the same.
    """

    def __init__(self, segments: Sequence[_Segment], lineage: str) -> None:
        """Take ownership of segments. Use `of` or `from_arrays` instead."""
        self._segments, self.lineage = tuple(segments), lineage
        self._starts = np.cumsum([0, *map(len, self._segments)])

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """Return texts as names."""
        return cls([_segment_of(names)], secrets.token_hex(8))

    @classmethod
    def from_arrays(cls, segments: Sequence[Mapping[str, Array]], lineage: str) -> Names:
        """Return the names whose arrays `since` gave, in one or more segments.

        Raises:
            ValueError: the arrays do not fit together.
        """
        made = []
        for arrays in segments:
            segment = _Segment(Ragged(arrays["text"], arrays["offsets"]), arrays["hashes"], arrays["order"])
            if not len(segment) == len(segment.hashes) == len(segment.text):
                raise ValueError("the names and their hashes do not fit together")
            made.append(segment)
        return cls(made, lineage)

    def since(self, row: int) -> dict[str, Array]:
        """Return what is stored of the names from this one on."""
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        number = min(number, len(self._segments) - 1)
        segment = _merged(self._segments[number:])
        skipped = row - int(self._starts[number])
        if skipped:
            segment = _sorted(segment.text.since(skipped), segment.hashes_by_row()[skipped:])
        return {
            "text": segment.text.values,
            "offsets": segment.text.offsets,
            "hashes": segment.hashes,
            "order": segment.order,
        }

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= row < len(self):
            raise IndexError(f"there are {len(self)} names, and none at {index}")
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return _decoded(self._segments[number].bytes_of(row - int(self._starts[number])))

    def __iter__(self) -> Iterator[str]:
        for segment in self._segments:
            content, ends = segment.text.values.tobytes(), segment.text.offsets.tolist()
            yield from (_decoded(content[a:b]) for a, b in itertools.pairwise(ends))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.find([name])[0])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Names({len(self)})"

    def find(self, names: Sequence[str]) -> list[list[int]]:
        """Return the rows of each of these names, ascending; none for a name that does not occur."""
        encoded = [_encoded(name) for name in names]
        wanted = np.array([_hash(name) for name in encoded], dtype=np.int64)
        found: list[list[int]] = [[] for _ in names]
        for start, segment in zip(self._starts.tolist(), self._segments, strict=False):
            low = np.searchsorted(segment.hashes, wanted, side="left")
            high = np.searchsorted(segment.hashes, wanted, side="right")
            for i in np.flatnonzero(low < high).tolist():
                rows = segment.order[low[i] : high[i]].tolist()
                found[i] += [start + row for row in rows if segment.bytes_of(row) == encoded[i]]
        return found

    def joined(self, more: Iterable[str]) -> Names:
        """Return these names, then more."""
        new = _segment_of(more)
        if not len(new):
            return self
        kept = segments_to_keep([len(segment) for segment in self._segments], len(new))
        return Names([*self._segments[:kept], _merged([*self._segments[kept:], new])], self.lineage)

    def take(self, ids: Ids) -> Names:
        """Return the names of these ids, in their order, as another sequence."""
        whole = _merged(self._segments)
        return Names([_sorted(whole.text.take(ids), whole.hashes_by_row()[ids])], secrets.token_hex(8))


def _segment_of(names: Iterable[str]) -> _Segment:
    encoded = [_encoded(name) for name in names]
    text = Ragged.of(
        np.frombuffer(b"".join(encoded), np.uint8), np.array([len(name) for name in encoded], np.int64)
    )
    return _sorted(text, np.array([_hash(name) for name in encoded], np.int64))


def _sorted(text: Ragged, hashes: Ids) -> _Segment:
    order = np.argsort(hashes, kind="stable")
    return _Segment(text, hashes[order], order.astype(np.int32))


def _merged(segments: Sequence[_Segment]) -> _Segment:
    if len(segments) == 1:
        return segments[0]
    text = Ragged.concatenated([segment.text for segment in segments])
    return _sorted(text, np.concatenate([segment.hashes_by_row() for segment in segments]))


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")  # names of files may have lone surrogates


def _decoded(name: bytes) -> str:
    try:
        return name.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # only in a file that somebody else made
        return name.decode("utf-8", "replace")


def _hash(name: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little", signed=True)
