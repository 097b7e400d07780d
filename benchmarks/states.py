"""Random sequences of changes of a small index, each compared with a plain dictionary of images."""

from __future__ import annotations

import dataclasses
import math
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from helpers_stored import CLASSES, DIM, AlteredReader, content, features, stored

from vitdsi.collection import learn_added
from vitdsi.collection.add import add
from vitdsi.collection.compact import compact
from vitdsi.collection.parts import GROWING, PARTS
from vitdsi.collection.read import Collection
from vitdsi.collection.remove import remove
from vitdsi.collection.storage import check_files, read_index, write_index
from vitdsi.errors import UsageError
from vitdsi.search.browse import facets, page_of_images
from vitdsi.search.filters import Filters, passing_ids
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank
from vitdsi.state import IndexState

_STARTS = ((12, "semantic", False), (9, "random", True), (12, "clustered", True))  # images, scheme, classes
_NAMES = 24
_VERSIONS = 3
_STEPS = 12
_ALBUMS = ("a0", "a1", "a2")

_names = st.lists(st.integers(0, _NAMES - 1), min_size=1, max_size=5, unique=True)
_versions = st.integers(0, _VERSIONS - 1)


def _name(number: int) -> str:
    return f"old/{number:03}.jpg"


def _album(number: int, version: int) -> str:
    return f"a{(number + version) % 3}"


def _photos(numbers: list[int], version: int, *, labels: bool) -> Collection:
    """Photos that are never opened. Those of version 0 have the content of those that `stored` has."""
    noise = [torch.Generator().manual_seed(number + 1000 * version) for number in numbers]
    centres = features(CLASSES, 0)
    return Collection(
        [_name(number) for number in numbers],
        [f"class {number % CLASSES}" for number in numbers] if labels else None,
        [str(place).encode() for place in range(len(numbers))],
        torch.stack(
            [
                centres[n % CLASSES] + torch.randn(DIM, generator=g) / 2
                for n, g in zip(numbers, noise, strict=True)
            ]
        ).half(),
        torch.zeros(len(numbers), 32, 32, dtype=torch.uint8),
        [content(f"old{version or ''}", number) for number in numbers],
        facts={i: {"width": 100 + n, "album": _album(n, version)} for i, n in enumerate(numbers)},
    )


def _quick(state: IndexState) -> IndexState:
    """Return an index that is trained for a step or two when it is built again: answers need not be good here."""
    training = dataclasses.replace(state.requested.training, max_epochs=1.0)
    return dataclasses.replace(state, requested=dataclasses.replace(state.requested, training=training))


class Changes(RuleBasedStateMachine):
    """A sequence of changes.

    `images` has the number and the version of each image that must be found, in the order of the ids; `saved` is what
    it was when the index was stored.
    """

    images: dict[int, int]
    saved: dict[int, int] | None = None
    state: IndexState

    @initialize(start=st.sampled_from(_STARTS))
    def index(self, start: tuple[int, str, bool]) -> None:
        """Begin with a new index."""
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "i.dsi"
        count, scheme, self.labels = start
        self.state = _quick(stored(count, scheme, labels=self.labels))
        self.images = dict.fromkeys(range(count), 0)
        self.changed: set[str] = set()

    def teardown(self) -> None:
        """Delete what was stored."""
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @rule(numbers=_names, version=_versions)
    def add(self, numbers: list[int], version: int) -> None:
        """Add images; those that are there in another version are refused."""
        if any(self.images.get(number, version) != version for number in numbers):
            given = _photos(numbers, version, labels=self.labels)
            try:
                add(self.state, given, AlteredReader(given))  # type: ignore[arg-type]
            except UsageError as error:
                assert "another content" in str(error)
                return
            raise AssertionError("images of other content were added")
        self._add(numbers, version)

    @rule(numbers=_names, version=_versions)
    def replace(self, numbers: list[int], version: int) -> None:
        """Add images; those that are there in another version are replaced."""
        self._add(numbers, version)

    def _add(self, numbers: list[int], version: int) -> None:
        given = _photos(numbers, version, labels=self.labels)
        state, result = add(self.state, given, AlteredReader(given), replace_changed=True)  # type: ignore[arg-type]
        fresh = [number for number in numbers if self.images.get(number) != version]
        assert result.image_ids == [_name(number) for number in fresh]
        assert set(result.replaced) == {_name(number) for number in fresh if number in self.images}
        assert result.unchanged == len(numbers) - len(fresh)
        self.state = state
        for number in fresh:
            self.images.pop(number, None)
            self.images[number] = version
        self.changed |= set(GROWING)

    @precondition(lambda self: self.images)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """Remove some images, perhaps all."""
        numbers = st.sampled_from(sorted(self.images))
        gone = data.draw(st.lists(numbers, min_size=1, max_size=6, unique=True))
        ids = {self.state.image_ids[i]: i for i in self.state.trie.live_ids().tolist()}
        self.state = remove(self.state, [ids[_name(number)] for number in gone])
        for number in gone:
            del self.images[number]
        self.changed.add("live")

    @precondition(lambda self: self.images)
    @rule(retrain=st.sampled_from([False] * 7 + [None, True]))
    def compact(self, retrain: bool | None) -> None:
        """Drop removed images for good, and perhaps build the index anew."""
        self.state = compact(self.state, retrain=retrain)
        assert len(self.state.image_ids) == len(self.images)
        self.changed |= set(PARTS)

    @rule()
    def store_and_read(self) -> None:
        """Store what changed, and go on with what is read."""
        parts = [part for part in PARTS if part in self.changed] if self.path.exists() else None
        write_index(self.path, self.state, parts)
        assert check_files(self.path) == []
        self.state, self.saved, self.changed = read_index(self.path), dict(self.images), set()

    @precondition(lambda self: self.saved is not None)
    @rule()
    def forget(self) -> None:
        """Go back to what was stored, as when the process was killed."""
        assert self.saved is not None
        self.state, self.images, self.changed = read_index(self.path), dict(self.saved), set()

    @invariant()
    def has_the_images_of_the_model(self) -> None:
        """The images, those of each album, their classes and their counts are those of the dictionary."""
        if not hasattr(self, "images"):
            return
        names = [_name(number) for number in self.images]
        assert [image.image_id for image in page_of_images(self.state, limit=_NAMES).images] == names
        albums = {_name(number): _album(number, version) for number, version in self.images.items()}
        for album in _ALBUMS:
            if self.state.metadata.columns():
                found = passing_ids(self.state, f"album = '{album}'").tolist()
                expected = [name for name in names if albums[name] == album]
                assert [self.state.image_ids[i] for i in found] == expected
        assert dict(facets(self.state, ["album"])[0].values) == Counter(albums.values())
        if self.state.labels is not None:
            live = self.state.trie.live_ids().tolist()
            assert [self.state.labels[i] for i in live] == [f"class {n % CLASSES}" for n in self.images]

    @rule(seed=st.integers(0, 5), album=st.sampled_from([None, *_ALBUMS]))
    def search(self, seed: int, album: str | None) -> None:
        """A search for more images than there are finds each allowed one once, and probabilities are at most 1."""
        expected = [_name(n) for n, version in self.images.items() if album in (None, _album(n, version))]
        if not expected:
            return
        query = torch.randn(1, DIM, generator=torch.Generator().manual_seed(seed)).half()
        options = SearchOptions(k=2 * _NAMES, where=None if album is None else f"album = '{album}'")
        found = rank(self.state, query, options, Filters(self.state).trie_for(options))
        ids = [i for i in found.ids[0].tolist() if i >= 0]
        assert sorted(self.state.image_ids[i] for i in ids) == sorted(expected)
        assert sum(math.exp(p) for p in found.log_probs[0].tolist()) < 1 + 1e-3


def run_sequences(count: int) -> None:
    """Run sequences of changes, and raise the first difference."""
    with patch.multiple(learn_added, SHORT_EPOCHS=0.1, SHORT_STEPS=1):
        run_state_machine_as_test(
            Changes,
            settings=settings(
                max_examples=count,
                stateful_step_count=_STEPS,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],  # twelve steps can be read, and making them fewer takes minutes
                print_blob=False,
            ),
        )
