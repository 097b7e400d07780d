"""The feature cache: a folder in which features of photos are found by the content of their files.

Renamed, moved and duplicated files therefore cost nothing. The rows are in shards, which are never changed once they
are written:

    <key>/<hash>.npy              features, one row per photo
    <key>/<hash>.thumbnails.npy   thumbnails of the same photos, unless the rows are hard views
    <key>/<hash>.json             the listing: content hashes of the same photos; it is written last

The key names everything that the features depend on. The hash is that of the content hashes in the shard, so shards
with different photos have different names, and any number of processes can read and write the same folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.files import write_atomically

__all__ = ["FeatureCache", "default_cache"]

_BEGINNING = 16  # digits of a content hash that an index keeps

_Rows: TypeAlias = npt.NDArray[Any]


def default_cache() -> Path:
    """Return the folder of the feature cache: $VITDSI_CACHE, or `vitdsi` in the cache folder of the user."""
    given = os.environ.get("VITDSI_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vitdsi"


class FeatureCache:
    """Features and thumbnails of photos by content hash.

    Args:
        folder: the folder of the cache. It is created with the first shard.
        key: names everything that the features depend on.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder / key
        self._where: dict[str, tuple[Path, int]] = {}  # content hash -> the listing of its shard, row
        self._scanned: set[Path] = set()  # listings
        self._broken: set[Path] = set()  # listings

    def read(
        self, hashes: Sequence[str], features: _Rows, thumbnails: _Rows | None = None
    ) -> npt.NDArray[np.bool_]:
        """Copy the rows of known photos, one shard at a time, from the memory-mapped files.

        Args:
            hashes: content hashes of N photos. The empty hash is never found.
            features: (N, *shape), into which the rows of the photos that are found are written.
            thumbnails: (N, 32, 32), likewise; None reads features alone.

        Returns:
            For each photo, whether it was found, (N,). Shards that are broken, or whose rows have another shape or
            type, count as absent.
        """
        while True:
            self._scan()
            found = np.zeros(len(hashes), dtype=bool)
            broken = set()
            by_shard: dict[Path, list[tuple[int, int]]] = {}
            for i, name in enumerate(hashes):
                if name in self._where:
                    listing, row = self._where[name]
                    by_shard.setdefault(listing, []).append((i, row))
            for listing, pairs in by_shard.items():
                targets, rows = np.array(pairs).T
                try:
                    for path, part in _arrays(listing, features, thumbnails):
                        part[targets] = _mapped(path, part)[rows]
                    found[targets] = True
                except Exception:  # numpy's reader raises nearly any exception on broken data
                    broken.add(listing)
            if not broken:
                return found
            # Another shard may hold some of the same photos: search again without the broken ones.
            self._broken |= broken
            self._where.clear()
            self._scanned.clear()

    def has(self, hashes: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return for each photo whether a shard lists it (N,). That shard may be broken, which `read` finds out."""
        self._scan()
        return np.fromiter((name in self._where for name in hashes), bool, len(hashes))

    def completed(self, beginnings: Sequence[str]) -> list[str]:
        """Return the content hash that begins with each of these 16 digits; "" for those that are not known."""
        self._scan()
        known = {name[:_BEGINNING]: name for name in self._where}
        return [known.get(beginning, "") if beginning else "" for beginning in beginnings]

    def add(self, hashes: Sequence[str], features: _Rows, thumbnails: _Rows | None = None) -> None:
        """Write a shard with those photos that have a hash and are not in the cache yet.

        Args:
            hashes: content hashes of N photos, empty for photos that are not files.
            features: (N, *shape).
            thumbnails: (N, 32, 32), or None to store features alone.

        Raises:
            UsageError: the folder cannot be written.
        """
        first = {name: i for i, name in reversed(list(enumerate(hashes))) if name and name not in self._where}
        names = sorted(first)
        if not names:
            return
        rows = [first[name] for name in names]
        digest = hashlib.blake2b("".join(names).encode(), digest_size=16).hexdigest()
        listing = self.folder / f"{digest}.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path, part in _arrays(listing, features, thumbnails):
                with write_atomically(path) as stream:
                    np.save(stream, part[rows])
            with write_atomically(listing) as stream:
                stream.write(json.dumps(names).encode())
        except OSError as error:
            raise UsageError(
                f"{self.folder}: features cannot be cached here ({error.strerror or error}); make it writable or make "
                "room, or choose another folder with VITDSI_CACHE"
            ) from error
        self._broken.discard(listing)
        self._remember(listing, names)

    def _scan(self) -> None:
        """Find the shards that this process or others have added since the last time."""
        for listing in set(self.folder.glob("*.json")) - self._scanned - self._broken:
            self._scanned.add(listing)
            with contextlib.suppress(OSError, ValueError):
                names = json.loads(listing.read_text("utf-8"))
                if isinstance(names, list) and all(isinstance(name, str) for name in names):
                    self._remember(listing, names)

    def _remember(self, listing: Path, names: Sequence[str]) -> None:
        self._scanned.add(listing)
        for row, name in enumerate(names):
            self._where[name] = (listing, row)


def _arrays(listing: Path, features: _Rows, thumbnails: _Rows | None) -> list[tuple[Path, _Rows]]:
    """The files that belong to a listing, each with the rows that are written to it or read from it."""
    arrays = [(listing.with_suffix(".npy"), features)]
    if thumbnails is not None:
        arrays.append((listing.with_suffix(".thumbnails.npy"), thumbnails))
    return arrays


def _mapped(path: Path, like: _Rows) -> _Rows:
    rows: _Rows = np.load(path, mmap_mode="r")
    if rows.shape[1:] != like.shape[1:] or rows.dtype != like.dtype:
        raise ValueError(f"{path}: rows of {rows.dtype} {rows.shape[1:]}")
    return rows
