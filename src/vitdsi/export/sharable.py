"""What of an index is shared: by default what a search needs, and nothing else that tells about the photos."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from vitdsi.collection.compact import compact
from vitdsi.columns.hashes import ContentHashes
from vitdsi.columns.labels import Labels
from vitdsi.columns.names import Names
from vitdsi.config import IndexConfig
from vitdsi.errors import UsageError
from vitdsi.facts.store import MetadataStore
from vitdsi.state import IndexState

__all__ = ["OPTIONAL", "Sharing", "sharable"]

OPTIONAL = {
    "features": "the features of the photos, and of views of them that scores are calibrated by",
    "keypoints": "the keypoints of the photos, by which results are verified",
    "thumbnails": "a grey thumbnail of 32 x 32 pixels of each photo",
    "metadata": "facts about the photos, such as when and where they were taken",
    "hashes": "the content hashes of the files",
}
"""What is left out unless it is asked for."""


@dataclass(frozen=True)
class Sharing:
    """What is shared of an index beside its settings, its ids and its weights, which hold a vector for each photo.

    Attributes:
        include: keys of `OPTIONAL`. Any iterable is stored as a frozenset.
        names: share the image_ids, which are file names, and the names of classes. Otherwise images are numbered.

    Raises:
        UsageError: a key of `include` does not exist, when the value is made.
    """

    include: Iterable[str] = frozenset()
    names: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "include", frozenset(self.include))
        if unknown := sorted(set(self.include) - set(OPTIONAL)):
            raise UsageError(f"include has {unknown[0]!r}; choose from {', '.join(OPTIONAL)}")

    def shared(self) -> list[str]:
        """Describe what is shared."""
        lines = ["the settings, the ids, and the weights, which hold a vector for each photo"]
        if self.names:
            lines.append("the image_ids, which are the names of files and folders, and the names of classes")
        return lines + [text for key, text in OPTIONAL.items() if key in self.include]

    def left_out(self) -> list[str]:
        """Describe what is not shared."""
        lines = [] if self.names else ["the names of files, folders and classes"]
        return lines + [text for key, text in OPTIONAL.items() if key not in self.include]


def sharable(state: IndexState, sharing: Sharing) -> IndexState:
    """Return the state of an index without what is not shared.

    Removed images are dropped for good. Of a backbone's folder, only the name is kept. The index answers searches as
    before. Without features, photos that are added to it are learned less well, and scores are not calibrated again.

    Raises:
        UsageError: no image is left in the index.
    """
    if not bool(state.trie.live.all()):
        state = compact(state, retrain=False)
    state = replace(
        state, requested=_without_folder(state.requested), resolved=_without_folder(state.resolved)
    )
    include = set(sharing.include)
    if "features" not in include:
        state = replace(state, features=None, held_out=None, differences=state.differences[:0])
    if "keypoints" not in include:
        state = replace(state, keypoints=None)
    if "thumbnails" not in include:
        state = replace(state, thumbnails=None, decisions=())
    if "metadata" not in include:
        state = replace(state, metadata=MetadataStore.create({}))
    if "hashes" not in include:
        state = replace(state, hashes=ContentHashes.of([""] * len(state.hashes)))
    return state if sharing.names else _numbered(state)


def _without_folder(config: IndexConfig) -> IndexConfig:
    """Return the settings with the last part of the backbone's path, if it is one."""
    path = Path(config.model.backbone)
    if not (path.is_absolute() or path.is_dir()):
        return config
    return replace(config, model=replace(config.model, backbone=path.name))


def _numbered(state: IndexState) -> IndexState:
    """Return the state with numbers in place of the names of images and classes."""
    labels, held_out = state.labels, state.held_out
    numbers = {name: f"{i:03}" for i, name in enumerate(sorted(labels.classes if labels is not None else ()))}
    if labels is not None:
        labels = Labels([numbers[name] for name in labels.classes], labels.rows)
    if held_out is not None and held_out.labels is not None:
        held_out = replace(held_out, labels=[numbers.get(name, "none") for name in held_out.labels])
    names = Names.of(f"{i:06}" for i in range(len(state.image_ids)))
    return replace(state, image_ids=names, labels=labels, held_out=held_out, decisions=())
