"""Random sequences of changes of a small index, each compared with a plain dictionary of images."""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from hypothesis import HealthCheck, settings
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

from helpers_stored import add, stored

from vitdsi.collection.compact import compact
from vitdsi.collection.parts import GROWING, PARTS
from vitdsi.collection.remove import remove
from vitdsi.collection.storage import read_index, write_index
from vitdsi.search.browse import facets, page_of_images
from vitdsi.search.filters import Filters, passing_ids
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank

_START = 12  # images
_MOST = 40
_STEPS = 10


class Changes(RuleBasedStateMachine):
    """A sequence of changes. `images` has the album of each image that must be found, in the order of the ids."""

    @initialize()
    def start(self) -> None:
        """Begin with an index that is stored."""
        self.folder = Path(tempfile.mkdtemp())
        self.state = stored(_START)
        self.images = {f"old/{i:03}.jpg": f"a{i % 3}" for i in range(_START)}
        self.added = 0
        self.changed: set[str] = set()

    def teardown(self) -> None:
        """Delete what was stored."""
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @precondition(lambda self: len(self.state.image_ids) < _MOST)
    @rule(count=st.integers(1, 5))
    def add(self, count: int) -> None:
        """Add new images."""
        self.added += 1
        self.state = add(self.state, count, seed=self.added, name=f"new{self.added}")
        self.images |= {f"new{self.added}/{i:03}.jpg": f"a{i % 3}" for i in range(count)}
        self.changed |= set(GROWING)

    @precondition(lambda self: len(self.images) > 2)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """Remove some images, but never all."""
        names = sorted(self.images)
        gone = data.draw(
            st.lists(st.sampled_from(names), min_size=1, max_size=min(5, len(names) - 1), unique=True)
        )
        self._remove(gone)

    @precondition(lambda self: self.added and len(self.state.image_ids) < _MOST)
    @rule()
    def replace(self) -> None:
        """Remove images, and add others of the same names."""
        name = f"new{self.added}"
        gone = [image for image in self.images if image.startswith(f"{name}/")]
        if not gone or len(gone) == len(self.images):
            return
        self._remove(gone)
        self.state = add(self.state, 3, seed=100 + self.added, name=name)
        self.images |= {f"{name}/{i:03}.jpg": f"a{i % 3}" for i in range(3)}
        self.changed |= set(GROWING)

    def _remove(self, gone: list[str]) -> None:
        ids = {self.state.image_ids[i]: i for i in self.state.trie.live_ids().tolist()}
        self.state = remove(self.state, [ids[name] for name in gone])
        for name in gone:
            del self.images[name]
        self.changed.add("live")

    @rule()
    def compact(self) -> None:
        """Drop removed images for good."""
        self.state = compact(self.state, retrain=False)
        assert len(self.state.image_ids) == len(self.images)
        self.changed |= set(PARTS)

    @rule()
    def store_and_read(self) -> None:
        """Store what changed, and go on with what is read."""
        path = self.folder / "i.dsi"
        write_index(
            path, self.state, [part for part in PARTS if part in self.changed] if path.exists() else None
        )
        self.state = read_index(path)
        self.changed = set()

    @invariant()
    def has_the_images_of_the_model(self) -> None:
        """The images, those of each album, and their counts are those of the dictionary."""
        if not hasattr(self, "images"):
            return
        names = list(self.images)
        assert [image.image_id for image in page_of_images(self.state).images] == names
        for album in ("a0", "a1", "a2"):
            found = passing_ids(self.state, f"album = '{album}'").tolist()
            assert [self.state.image_ids[i] for i in found] == [n for n in names if self.images[n] == album]
        counts = dict(facets(self.state, ["album"])[0].values)
        assert counts == {a: list(self.images.values()).count(a) for a in set(self.images.values())}

    @rule(seed=st.integers(0, 5), album=st.sampled_from([None, "a0", "a1"]))
    def search(self, seed: int, album: str | None) -> None:
        """A search for more images than there are finds each allowed one once, and probabilities are at most 1."""
        query = torch.randn(
            1, self.state.features.shape[1], generator=torch.Generator().manual_seed(seed)
        ).half()
        options = SearchOptions(k=_MOST * 3, where=None if album is None else f"album = '{album}'")
        if album is not None and album not in self.images.values():
            return
        found = rank(self.state, query, options, Filters(self.state).trie_for(options))
        ids = [i for i in found.ids[0].tolist() if i >= 0]
        expected = [n for n in self.images if album in (None, self.images[n])]
        assert sorted(self.state.image_ids[i] for i in ids) == sorted(expected)
        assert sum(math.exp(p) for p in found.log_probs[0].tolist()) < 1 + 1e-3


def run_sequences(count: int) -> None:
    """Run sequences of changes, and raise the first difference, shortened by hypothesis."""
    run_state_machine_as_test(
        Changes,
        settings=settings(
            max_examples=count,
            stateful_step_count=_STEPS,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
