"""The index that is served: read when it is needed, swapped when it changed on disk, dropped when nobody asks."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from vitdsi.backbones.reader import FeatureReader, device_for
from vitdsi.collection.storage import read_index, write_index, write_lock
from vitdsi.errors import VitdsiError
from vitdsi.model.reading import reader_for
from vitdsi.model.stems import STEMS
from vitdsi.registry import choose
from vitdsi.serving.served import Served, Stamp
from vitdsi.state import IndexState

__all__ = ["IndexHolder", "give_memory_back"]

_log = logging.getLogger("vitdsi.serving")


class IndexHolder:
    """Holds the state that new requests are answered from.

    Requests keep the state that they were given, so a swap disturbs none. All methods may be called by several threads;
    those that read the index from disk take as long as that takes.

    Args:
        path: the folder of the index.
        device: where the model runs; see `ServerSettings`.
    """

    def __init__(self, path: Path, device: str = "auto") -> None:
        self.path = path
        self._device = device_for(device)
        self._served: Served | None = None
        self._refused: Stamp | None = None  # an index on disk that could not be read
        self._loading = threading.Lock()  # held while a state is read from disk
        self._changing = threading.Lock()  # held while the index is changed by this process

    @property
    def loaded(self) -> Served | None:
        """The state in memory, or None if there is none at present."""
        return self._served

    def current(self) -> Served:
        """Return the state to answer a new request from, and read it first if it is not in memory.

        Raises:
            UsageError, IndexFormatError: as `vitdsi.collection.storage.read_index`.
        """
        served = self._served
        if served is not None:
            return served
        with self._loading:
            if self._served is None:
                self._served = self._read()
            return self._served

    def refresh(self) -> bool:
        """Swap in the index on disk if it is another one than that in memory. Returns whether it was.

        An index that cannot be read, for example because it is being replaced, leaves the present state in place.
        """
        served = self._served
        if served is None:
            return False
        with self._loading:
            stamp = self._stamp()
            if stamp in (served.stamp, self._refused) or self._served is not served:
                return False
            try:
                self._served = self._read()
            except (OSError, VitdsiError) as error:
                self._refused = stamp
                _log.warning("the changed index cannot be read, so the former one is served: %s", error)
                return False
        del served
        give_memory_back()
        return True

    def change(
        self, operation: Callable[[Served], IndexState], parts: Collection[str] | None = None
    ) -> Served:
        """Change the index on disk, and serve the result.

        Args:
            operation: makes the new state. It is given the state that is on disk, and may return the same to change
                nothing.
            parts: the parts of the index that it changes, None for all; see `write_index`.

        Raises:
            IndexLockedError: another process is changing the index.
        """
        with self._changing, write_lock(self.path):
            served = self.current()
            if self._stamp() != served.stamp:
                served = self._read()
            state = operation(served)
            if state is served.state:
                return served
            generation = write_index(self.path, state, parts)
            changed = self._prepared(state, generation, self._stamp())
            with self._loading:
                self._served = changed
            return changed

    def unload(self) -> None:
        """Drop the state. The next request reads it again."""
        with self._loading:
            self._served = None
        give_memory_back()

    def _read(self) -> Served:
        stamp = self._stamp()  # before reading: if the index changes meanwhile, it is read again later
        state = read_index(self.path)
        return self._prepared(state, state.generation, stamp)

    def _prepared(self, state: IndexState, generation: int, stamp: Stamp) -> Served:
        state.model.to(self._device)
        served = Served(replace(state, generation=generation), self._reader_for(state), stamp)
        _ = served.searcher, served.live  # made here, and not while a request waits
        return served

    def _reader_for(self, state: IndexState) -> FeatureReader:
        """Return a reader for the model of a state: the present one if it is the same backbone."""
        model = state.resolved.model
        kind = choose(STEMS, "model.stem", model.stem).reads
        key = (kind, model.backbone, model.paper.image_size, state.weights)
        if self._served is not None:
            before, reader = self._served.state, self._served.reader
            model_before = before.resolved.model
            if key == (reader.kind, model_before.backbone, model_before.paper.image_size, before.weights):
                return reader
        return reader_for(model, state.weights, device=self._device)

    def _stamp(self) -> Stamp:
        try:
            status = (self.path / "index.json").stat()
        except FileNotFoundError:
            return (0, 0, 0)  # `read_index` says what is wrong
        return (status.st_ino, status.st_mtime_ns, status.st_size)


def give_memory_back() -> None:
    """Return the memory that is free in this process to the operating system, where the C library can."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)
