"""Everything that an index holds in memory, as one immutable value."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vitdsi.config import IndexConfig
from vitdsi.errors import ImageReadError
from vitdsi.facts.store import MetadataStore
from vitdsi.ids.trie import Trie
from vitdsi.model.seq2seq import Seq2Seq


@dataclass(frozen=True)
class Calibration:
    """Scores of altered copies that were held out of training.

    Attributes:
        inside_scores: the top score of each held-out altered copy.
        min_score: the score that 95 % of them reach, or None without held-out copies.
    """

    inside_scores: tuple[float, ...] = ()
    min_score: float | None = None


@dataclass(frozen=True)
class Change:
    """One change of an index: the verb (build, add, remove or compact), the number of images, and when (UTC)."""

    verb: str
    images: int
    time: str

    @classmethod
    def now(cls, verb: str, images: int) -> Change:
        """Return a change that happens now."""
        return cls(verb, images, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


@dataclass(frozen=True)
class BuildReport:
    """What a build did and measured.

    Attributes:
        images: indexed images.
        steps: optimisation steps.
        seconds: wall-clock time of the whole build; seconds_reading: of reading the photos, assigning ids and
            measuring alterations.
        indexing_accuracy: IA@1, the share of the indexed images that a search with the image itself finds first.
        calibration: the scores of held-out altered copies.
        history: one entry for each evaluation during training.
        skipped: the files that could not be read.
        duplicates: groups of image_ids whose files have the same bytes.
        unmatched: names in the metadata that no image has.

    The last three are not stored with the index.
    """

    images: int
    steps: int | None = None
    seconds: float | None = None
    seconds_reading: float | None = None
    indexing_accuracy: float | None = None
    calibration: Calibration = Calibration()
    history: tuple[dict[str, float], ...] = ()
    skipped: tuple[ImageReadError, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    unmatched: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the part that is stored with the index, as JSON values; what was not measured is left out."""
        measured = {
            "images": self.images,
            "steps": self.steps,
            "seconds": self.seconds,
            "seconds_reading": self.seconds_reading,
            "IA@1": self.indexing_accuracy,
            "inside_scores": list(self.calibration.inside_scores),
            "min_score": self.calibration.min_score,
            "history": list(self.history),
        }
        return {name: value for name, value in measured.items() if value is not None}

    @classmethod
    def from_dict(cls, measured: dict[str, Any]) -> BuildReport:
        """Restore the report that `as_dict` wrote."""
        return cls(
            measured["images"],
            measured.get("steps"),
            measured.get("seconds"),
            measured.get("seconds_reading"),
            measured.get("IA@1"),
            Calibration(tuple(measured.get("inside_scores", ())), measured.get("min_score")),
            tuple(measured.get("history", ())),
        )


@dataclass(frozen=True)
class IndexState:
    """Everything that an index holds. A change of an index makes a new state; nothing is changed in place.

    Attributes:
        requested: the settings that the user asked for.
        resolved: the settings that the index was built with, after those that depend on the size of the collection were
            chosen.
        model: the trained model.
        trie: the ids, with a mask of those that are live.
        image_ids: the image_id of each of the N ids, including ids that were removed.
        labels: the class of each id, or None for an index without classes.
        hashes: the content hash of each image file, "" for images that were not files.
        features: (N, *shape) stored features, as the backbone gave them, or None where they were dropped.
        thumbnails: (N, 32, 32) uint8 grey thumbnails that near-identical images are recognised by, or None where they
            were dropped.
        differences: (D, *shape) measured feature differences between altered copies and their originals.
        metadata: the facts about images that filters use.
        report: the report of the build.
        changes: the changes since the index was made, oldest first; learning everything again starts a new list.
        generation: the generation of the files that the state was read from, 0 if it was not read from files.
    """

    requested: IndexConfig
    resolved: IndexConfig
    model: Seq2Seq
    trie: Trie
    image_ids: list[str]
    labels: list[str] | None
    hashes: list[str]
    features: Tensor | None
    thumbnails: Tensor | None
    differences: Tensor
    metadata: MetadataStore
    report: BuildReport
    changes: tuple[Change, ...] = ()
    generation: int = 0

    @property
    def reranks_by_default(self) -> bool:
        """Whether results are reranked by default: if embeddings start from features and are trained without labels."""
        return self.resolved.labels == "none" and self.model.stem.embeds and self.model.head.compares

    def changed(self, verb: str, images: int) -> tuple[Change, ...]:
        """Return the changes with one more that happens now."""
        return (*self.changes, Change.now(verb, images))
