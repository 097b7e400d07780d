"""Everything that an index holds in memory, as one immutable value."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vitdsi.columns.hashes import ContentHashes
from vitdsi.columns.labels import Labels
from vitdsi.columns.names import Names
from vitdsi.columns.thumbnails import Thumbnails
from vitdsi.config import IndexConfig
from vitdsi.errors import ImageReadError
from vitdsi.facts.store import MetadataStore
from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.photos.keypoints import Keypoints


@dataclass(frozen=True)
class Calibration:
    """How the evidence for a result becomes the probability that it is right (see `vitdsi.search.calibrate`).

    The default weights are for an index without held-out views.

    Attributes:
        weights: of the log-probability, the cosine of pictures and the cosine of categories.
        bias: what is added to the weighted sum.
        images: how many images were live when the weights were fitted, 0 for the default weights.
        inside_scores: the top score of each held-out view.
        min_score: the score that 95 % of them reach, or None without held-out views.
        different_pictures: a cosine of pictures that one in a hundred pairs of different images exceeds, or a higher
            one in a small collection. What exceeds it speaks for the same picture.
    """

    weights: tuple[float, ...] = (0.3, 10.0, 0.0)
    bias: float = -3.0
    images: int = 0
    inside_scores: tuple[float, ...] = ()
    min_score: float | None = None
    different_pictures: float = 0.25


@dataclass(frozen=True)
class HeldOut:
    """Views of photos that are never trained on, which the scores are calibrated by.

    Attributes:
        features: (H, *shape) stored features.
        ids: (H,) the ids of the images that they show, NONE for photos that are not indexed.
        labels: the class of each photo, or None without classes.
    """

    features: Tensor
    ids: Tensor
    labels: list[str] | None = None

    def take(self, rows: Tensor) -> HeldOut:
        """Return the views of these rows (n,)."""
        labels = None if self.labels is None else [self.labels[i] for i in rows.tolist()]
        return HeldOut(self.features[rows], self.ids[rows], labels)

    def with_ids(self, ids: Tensor) -> HeldOut:
        """Return the same views with other ids (H,)."""
        return HeldOut(self.features, ids, self.labels)

    def joined(self, other: HeldOut) -> HeldOut:
        """Return the views of both."""
        labels = None if self.labels is None or other.labels is None else [*self.labels, *other.labels]
        return HeldOut(torch.cat([self.features, other.features]), torch.cat([self.ids, other.ids]), labels)


@dataclass(frozen=True)
class TextGap:
    """The gap between the features of texts and those of photos, of a backbone with two towers.

    Both are vectors of one space, but they lie in different regions of it, so that most of the distance between a text
    and a photo says nothing about either (Liang et al., "Mind the gap", 2022). A text t is read as the features

        photo_mean + scale (t - text_mean).

    Attributes:
        text_mean: (F,) the mean of the features of texts.
        photo_mean: (F,) the mean of the features of photos.
        scale: the ratio of how far photos and texts are from their means.
        pairs: how many pairs of a photo and its caption this was measured on; 0 if fixed texts stood in for captions.
    """

    text_mean: Tensor
    photo_mean: Tensor
    scale: float
    pairs: int = 0

    def closed(self, texts: Tensor) -> Tensor:
        """Turn features of texts (T, F) into features of photos."""
        return self.photo_mean.to(texts) + self.scale * (texts - self.text_mean.to(texts))


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
        accuracy_images: how many images IA@1 was measured on, at most 5,000.
        teacher_recall: the share of the nearest neighbours that were found to train with; below 1 in very large
            collections. None with classes.
        calibration: how scores are computed.
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
    accuracy_images: int | None = None
    teacher_recall: float | None = None
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
            "IA@1_images": self.accuracy_images,
            "teacher recall": self.teacher_recall,
            "calibration": asdict(self.calibration),
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
            measured.get("IA@1_images"),
            measured.get("teacher recall"),
            _calibration_from(measured),
            tuple(measured.get("history", ())),
        )


def _calibration_from(measured: dict[str, Any]) -> Calibration:
    """Restore a calibration. Up to format 3, scores had another meaning, so the default weights replace them."""
    given = dict(measured.get("calibration", {}))
    for name in ("weights", "inside_scores"):
        if name in given:
            given[name] = tuple(given[name])
    return Calibration(**given)


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
        hashes: the first 64 bits of the content hash of each image file, "" for images that were not files.
        features: (N, *shape) stored features, as the backbone gave them, or None where the index keeps none.
        thumbnails: grey pictures that near-identical images are recognised by, or None where they were dropped.
        differences: (D, *shape) feature differences between altered copies and their originals, and between captions
            and their photos.
        metadata: the facts about images that filters use.
        report: the report of the build.
        held_out: views that were held out of training, or None without any.
        changes: the changes since the index was made, oldest first; learning everything again starts a new list.
        weights: the hash of the backbone's weights; None for pixels, and for indexes that did not remember it yet.
        text_gap: how texts are read; None if the backbone reads none.
        generation: the generation of the files that the state was read from, 0 if it was not read from files.
        keypoints: the keypoints of each image, including images that were removed, or None for an index without.
        decisions: pairs of near-identical images that are to be kept both; see `vitdsi.search.decisions`.
    """

    requested: IndexConfig
    resolved: IndexConfig
    model: Seq2Seq
    trie: Trie
    image_ids: Names
    labels: Labels | None
    hashes: ContentHashes
    features: Tensor | None
    thumbnails: Thumbnails | None
    differences: Tensor
    metadata: MetadataStore
    report: BuildReport
    held_out: HeldOut | None = None
    changes: tuple[Change, ...] = ()
    weights: str | None = None
    text_gap: TextGap | None = None
    generation: int = 0
    keypoints: Keypoints | None = None
    decisions: tuple[tuple[str, str], ...] = ()

    def live_ids_of(self, image_ids: Sequence[str]) -> list[int]:
        """Return the live id of each of these image_ids, NONE for those that the index does not have."""
        return [
            next((i for i in reversed(ids) if self.trie.live[i]), NONE)
            for ids in self.image_ids.find(image_ids)
        ]

    @property
    def reranks_by_default(self) -> bool:
        """Whether results are reranked by default: if embeddings start from features and the head compares them."""
        return self.model.stem.embeds and self.model.head.compares

    @property
    def compares_pictures(self) -> bool:
        """Whether results are ordered by the likeness of pictures, so that it helps to read a query in parts."""
        return self.reranks_by_default and bool(self.model.stem.categories) and self.resolved.labels == "none"

    @property
    def compares_copies(self) -> bool:
        """Whether near-identical images can be found."""
        return self.thumbnails is not None and (self.features is not None or self.reranks_by_default)

    def category_vectors(self) -> Tensor | None:
        """The part for categories (N, C) of the vectors that the head keeps for all ids; None if there is none.

        Those of ids without a code have no meaning.
        """
        vectors = self._vectors()
        return None if vectors is None else vectors[:, -self.model.stem.categories :]

    def picture_vectors(self, ids: Tensor | None = None) -> Tensor | None:
        """The part for pictures (n, D) of the same vectors, of ids (n,) or of all."""
        vectors = self._vectors(ids)
        return None if vectors is None else vectors[:, : -self.model.stem.categories]

    def _vectors(self, ids: Tensor | None = None) -> Tensor | None:
        """The vectors (n, E) that the head keeps for ids (n,) or for all; None if they do not have these parts."""
        if not self.model.stem.categories or not self.model.head.compares:
            return None
        ids = torch.arange(len(self.trie.codes)) if ids is None else ids
        return self.model.head.vectors(ids).detach().cpu()

    def changed(self, verb: str, images: int) -> tuple[Change, ...]:
        """Return the changes with one more that happens now."""
        return (*self.changes, Change.now(verb, images))
