"""Searching an exported index: the same results as the index it was made from, without torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitdsi.columns.segments import Ragged
from vitdsi.errors import UsageError
from vitdsi.exported.best_first import best_first_search
from vitdsi.exported.decoding import Decoding
from vitdsi.exported.graphs import Graphs
from vitdsi.exported.heads import CodedRows, DigitHead, FloatRows, Head, Rows, TrieHead
from vitdsi.exported.manifest import array_of, read_manifest
from vitdsi.exported.rank import Scoring, most_alike, rank
from vitdsi.exported.trie import ExportedTrie
from vitdsi.photos.decode import Source, decode
from vitdsi.photos.keypoints import Keypoints
from vitdsi.photos.regions import Region, parts_of, read_region
from vitdsi.search.options import (
    BEAM_SIZE,
    CANDIDATES,
    MAX_EXPANSIONS,
    MOST_COMPARED,
    MOST_PROBABLE,
    SearchOptions,
    SearchResult,
)
from vitdsi.search.verify import options_for_candidates, verify_results

__all__ = ["ExportedIndex"]

Array = npt.NDArray[Any]


class ExportedIndex:
    """An index that `vitdsi export` has written. Its files are memory-mapped.

    Args:
        folder: the exported index.

    Raises:
        UsageError: ONNX Runtime is not installed.
        IndexFormatError: the folder is not an exported index, or is broken.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._manifest = read_manifest(self._folder)
        self._graphs = Graphs(self._folder)
        self._scoring = Scoring.of(self._manifest["scoring"])
        self._trie = ExportedTrie(self._array("child"), self._array("live").astype(bool))
        self._head = self._read_head()

    @property
    def min_score(self) -> float | None:
        """The score that 95 % of the held-out views reach, or None without any."""
        score: float | None = self._manifest["min_score"]
        return score

    def __len__(self) -> int:
        """The number of images that can be found."""
        return int(self._trie.live.sum())

    def search(self, image: Source, k: int = 10, **options: Any) -> list[SearchResult]:
        """Find the k most relevant images for a photo, best first; the options are those of `SearchOptions`.

        Raises:
            ImageReadError: the photo cannot be read.
            UsageError: an option is not valid, or needs the index itself.
        """
        return self.search_with([image], SearchOptions(k, **options))[0]

    def search_with(
        self, images: Sequence[Source], options: SearchOptions, *, batch_size: int = 1
    ) -> list[list[SearchResult]]:
        """Search for many photos with options that are given as one value. Photos are searched one by one.

        Raises:
            ImageReadError: a photo cannot be read.
            UsageError: an option is not valid, or needs the index itself.
        """
        if unsupported := self._lacks(options):
            raise UsageError(f"this exported index has no {unsupported}; search the index itself")
        live = self._trie.live if options.allow is None else self._allowed(options.allow)
        if options.verify is False or self._keypoints is None:
            return [self._search(image, options, live) for image in images]
        wanted = options_for_candidates(options)
        return [
            verify_results(self._keypoints, image, self._search(image, wanted, live, to_verify=True), options)
            for image in images
        ]

    def _lacks(self, options: SearchOptions) -> str | None:
        """Return what a search with these options needs that is not exported, None if nothing is missing."""
        needed = {
            "facts to filter by": options.where is not None,
            "thumbnails to collapse results by": options.collapse,
            "keypoints to verify results by": bool(options.verify) and self._keypoints is None,
            "searches in any rotation": options.any_rotation,
            "searches without pictures": not options.pictures,
        }
        return next((name for name, asked in needed.items() if asked), None)

    @cached_property
    def _keypoints(self) -> Keypoints | None:
        if "keypoints.bin" not in self._manifest["files"]:
            return None
        return Keypoints([Ragged(self._array("keypoints"), self._array("keypoint_offsets"))])

    def _search(
        self, image: Source, options: SearchOptions, live: Array, *, to_verify: bool = False
    ) -> list[SearchResult]:
        squares, regions = self._squares(image, options)
        read = [self._graphs.read(square) for square in squares]
        bos = self._manifest["bos"]
        decodings = [
            Decoding(self._graphs.step, self._head, self._trie, memory, embedding, bos)
            for memory, embedding in read
        ]
        compares = isinstance(self._head, TrieHead)
        rerank = self._manifest["reranks"] if options.rerank is None else options.rerank
        if rerank and not compares:
            raise UsageError("this index has no trie head to rerank with; leave out rerank")
        wanted = options.offset + options.k
        block = max(self._manifest["reranked"], options.k) if rerank else options.k
        found = [
            best_first_search(
                decoding,
                self._trie,
                live,
                block * -(-wanted // block),
                beam_size=options.beam_size or max(BEAM_SIZE, wanted),
                max_expansions=0 if options.beam_size else MAX_EXPANSIONS,
            )
            for decoding in decodings
        ]
        leaves = self._head.leaves if isinstance(self._head, TrieHead) and self._manifest["reranks"] else None
        embeddings = np.stack([embedding for _, embedding in read])
        also = np.empty(0, np.int64)
        if to_verify and leaves is not None:
            compared = self._compared(decodings, live)
            also = most_alike(compared, CANDIDATES, embeddings, leaves, self._scoring)
        ranking = rank(
            decodings,
            found,
            embeddings,
            leaves,
            self._scoring,
            rerank=rerank,
            block=block,
            also=also,
            most=None if to_verify else wanted,
        )
        first = 0 if to_verify else options.offset
        return ranking.results(0, first, self._name, regions, options.min_score)

    def _compared(self, decodings: Sequence[Decoding], live: Array) -> Array:
        """Return the ids that are compared with a query; see `vitdsi.search.searched.Searched.alike`."""
        if live.sum() <= MOST_COMPARED:
            return np.flatnonzero(live)
        return np.unique(
            np.concatenate(
                [best_first_search(each, self._trie, live, MOST_PROBABLE).ids for each in decodings]
            )
        )

    def _squares(self, image: Source, options: SearchOptions) -> tuple[list[Array], list[Region]]:
        """Return the squares (3, S, S) that are read of a photo, and their regions."""
        size, resample = self._manifest["image_size"], Image.Resampling(self._manifest["resample"])
        count = options.regions or self._manifest["regions"]
        whole = count == 1 and options.region is None
        photo = decode(image, min_side=size if whole else 2 * size)
        regions = [options.region] if options.region else parts_of(*photo.size, count)
        squares = [read_region(photo, region, size, resample) for region in regions]
        return [np.ascontiguousarray(square.transpose(2, 0, 1)) for square in squares], regions

    def _allowed(self, images: Iterable[str | int]) -> Array:
        """Return which ids (N,) are live and among these images, given as image_ids or ids, also as decimal text."""
        live = np.zeros(len(self._trie.live), bool)
        for image in images:
            number = self._number_of.get(image) if isinstance(image, str) else image
            if number is None and isinstance(image, str) and image.isdecimal():
                number = int(image)
            if number is None or not 0 <= number < len(live) or not self._trie.live[number]:
                raise UsageError(
                    f"{image!r} is not in the index, which has {len(self)} images; give image_ids or ids of these"
                )
            live[number] = True
        return live

    @cached_property
    def _number_of(self) -> dict[str, int]:
        """The id of each live image by its image_id."""
        return {self._name(number): number for number in np.flatnonzero(self._trie.live).tolist()}

    def _name(self, number: int) -> str:
        ends = self._name_ends
        start = int(ends[number - 1]) if number else 0
        return os.fsdecode(self._names[start : int(ends[number])].tobytes())

    @cached_property
    def _names(self) -> Array:
        return self._array("names")

    @cached_property
    def _name_ends(self) -> Array:
        return self._array("name_ends")

    def _array(self, name: str) -> Array:
        return array_of(self._folder, self._manifest, name)

    def _read_head(self) -> Head:
        if self._manifest["head"] == "digits":
            return DigitHead()
        return TrieHead(
            self._trie.child,
            self._rows("leaves"),
            self._array("leaf_bias"),
            self._rows("branches"),
            self._array("branch_bias"),
        )

    def _rows(self, name: str) -> Rows:
        values = self._array(name)
        return CodedRows(values, self._array("centres")) if values.dtype == np.uint8 else FloatRows(values)
