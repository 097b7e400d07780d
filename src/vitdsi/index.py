"""ImageIndex: fit a model to a collection, search it, change it, evaluate it, save and load it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi import living, quality, ranking
from vitdsi.build import (
    Collection,
    Images,
    Metadata,
    OnProgress,
    build_model,
    build_trie,
    measure_alterations,
    read_images,
    sized,
    training_data,
    with_facts,
)
from vitdsi.config import IndexConfig, check
from vitdsi.duplicates import NEAR_IDENTICAL, Similarity, near_identical, search_distinct
from vitdsi.errors import ImageReadError, UsageError
from vitdsi.features import InputLoader, device_for
from vitdsi.filters import Filters, find
from vitdsi.images import Source, load_square
from vitdsi.metadata import MetadataStore
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.ranking import SearchResult
from vitdsi.storage import PARTS, Stored, describe, read_index, write_index
from vitdsi.training.loop import train
from vitdsi.trie import Trie

if TYPE_CHECKING:
    from vitdsi.evaluation.metrics import Metric

__all__ = ["ImageIndex", "SearchResult"]


class ImageIndex:
    """An image collection held in a model's weights.

    Args:
        config: everything that can be chosen; the defaults suit a folder of photos.
        cache: folder in which features of files are kept between runs; None keeps none.

    After `fit` or `load`:
        image_ids_: image_id of each id, also of removed ones.
        labels_: class of each id, or None.
        model_, trie_: the model and the live ids.
        skipped_: files that could not be read. duplicates_: groups of image_ids with the same bytes.
        unmatched_: names in the metadata that no image has.
        report_: what the build measured.
    """

    def __init__(self, config: IndexConfig | None = None, *, cache: Path | None = None) -> None:
        self.config = self._asked = config or IndexConfig()
        check(self.config)
        self.cache = cache
        self.device = device_for(self.config.device)
        self.skipped_: list[ImageReadError] = []
        self.duplicates_: list[list[str]] = []
        self.unmatched_: list[str] = []
        self._loader: InputLoader | None = None
        self._stored: Stored | None = None
        self._filters = Filters()
        self._similarity: Similarity | None = None
        self._origin: Path | None = None  # where it was loaded from or saved to, and what changed since
        self._changed: set[str] = set(PARTS)

    @property
    def stored_(self) -> Stored:
        """Everything that `save` writes; UsageError before `fit` or `load`."""
        if self._stored is None:
            raise UsageError("this ImageIndex is empty: call fit(images) or ImageIndex.load(path) first")
        return self._stored

    @property
    def model_(self) -> Seq2Seq:
        """The fitted model."""
        return self.stored_.model

    @property
    def trie_(self) -> Trie:
        """The live ids."""
        return self.stored_.trie

    @property
    def image_ids_(self) -> list[str]:
        """The image_id of each id."""
        return self.stored_.image_ids

    @property
    def labels_(self) -> list[str] | None:
        """The class of each id."""
        return self.stored_.labels

    @property
    def inputs_(self) -> Tensor | None:
        """(N, *input_shape) model inputs, where they are kept."""
        return self.stored_.inputs

    @property
    def report_(self) -> dict[str, Any]:
        """What the build measured."""
        return self.stored_.report

    @property
    def loader(self) -> InputLoader:
        """Turns images into model inputs; made when first needed."""
        if self._loader is None:
            model = self.config.model
            self._loader = InputLoader(model.stem, model.image_size, cache=self.cache, device=self.device)
        return self._loader

    def fit(
        self,
        images: Images,
        labels: Sequence[str] | None = None,
        *,
        queries: Images | None = None,
        query_labels: Sequence[str] | None = None,
        metadata: Metadata | None = None,
        keep_tokens: bool = True,
        on_progress: OnProgress = None,
        state: Path | None = None,
        resume: bool = False,
    ) -> ImageIndex:
        """Learn a collection.

        Args:
            images: a folder or file, or a sequence of paths, PIL images or uint8 arrays.
            labels: one class an image; with a folder and config.labels "folder", its first sub-folder.
            queries, query_labels: more photos that are not indexed but train retrieval.
            metadata: what filters may ask about: a CSV, TSV, JSON, JSONL or Parquet file, or facts by image_id.
            keep_tokens: keep the model's inputs, which later additions learn best with.
            on_progress: called with a Progress now and then.
            state: folder for the state from which `resume=True` goes on after an interruption.

        Raises:
            UsageError: nothing readable, or labels that do not fit.
        """
        started = time.monotonic()
        collection = self._read(images, labels, on_progress)
        if not collection.image_ids:
            reason = f"; the first: {collection.skipped[0]}" if collection.skipped else ""
            raise UsageError(f"none of the {len(collection.skipped)} images could be read{reason}")
        extra = None if queries is None else self._read(queries, query_labels, on_progress)
        self.skipped_ = collection.skipped + ([] if extra is None else extra.skipped)
        self.duplicates_ = collection.duplicates()
        collection, self.unmatched_ = with_facts(collection, metadata)
        self.config = sized(self._asked, len(collection.image_ids), len(extra.image_ids) if extra else 0)
        trie = build_trie(self.config, collection)
        model = build_model(self.config, trie, collection.inputs)
        alterations = measure_alterations(self.config, collection, self.loader, on_progress)
        data = training_data(self.config, trie, collection, extra, alterations)
        model.to(self.device)
        read = time.monotonic()
        schedule = train(
            model,
            data,
            self.config.training,
            seed=self.config.seed,
            state=state,
            resume=resume,
            on_progress=on_progress,
        )
        self._put(
            Stored(
                self.config,
                model.eval(),
                trie,
                collection.image_ids,
                collection.labels,
                collection.hashes,
                collection.inputs,
                collection.thumbnails,
                alterations.differences,
                MetadataStore.create(collection.facts),
                {},
            ),
            PARTS,
        )
        self.report_.update(
            {
                "images": len(self.image_ids_),
                "steps": schedule.step,
                "seconds": round(time.monotonic() - started, 2),
                "seconds_reading": round(read - started, 2),
                "IA@1": round(ranking.own_rank_one(self.stored_) or 0.0, 4),
                **quality.calibrate(self.stored_, alterations.inputs),
                "history": schedule.history,
            }
        )
        if not keep_tokens:
            self._put(dataclasses.replace(self.stored_, inputs=None, thumbnails=None), PARTS)
        return self

    def add(
        self,
        images: Images,
        labels: Sequence[str] | None = None,
        *,
        prefix: str = "",
        replace: bool = False,
        metadata: Metadata | None = None,
        on_progress: OnProgress = None,
    ) -> list[str]:
        """Add images without renumbering anything; returns their image_ids.

        Images that are there already with the same content are left out. `prefix` goes before each image_id. With
        `replace`, those whose content changed take the place of the old. Raises UsageError for such without it, where
        labels do not fit, or no id is free.
        """
        stored = self.stored_
        given = self._read(images, labels, on_progress).named(prefix)
        self.skipped_, self.duplicates_ = given.skipped, given.duplicates()
        given, self.unmatched_ = with_facts(given, metadata)
        fresh, replaced = living.what_is_new(stored, given)
        if replaced and not replace:
            raise UsageError(
                f"in the index with another content: {len(replaced)} image_ids, such as "
                f"{self.image_ids_[replaced[0]]!r}; replace them (--replace), or tell them apart (--prefix NAME/)"
            )
        if fresh.image_ids:
            if replaced:
                stored = living.remove(stored, replaced)
            self._put(living.add(stored, fresh, self.loader, on_progress), PARTS)
        return fresh.image_ids

    def remove(self, images: Iterable[str | int]) -> None:
        """Remove images, by image_id or id: an edit of the trie, so exact and at once."""
        ids = find(self.stored_, images)
        self._put(living.remove(self.stored_, ids), ("trie", "metadata"))

    def compact(
        self, *, retrain: bool | None = None, keep_tokens: bool = True, on_progress: OnProgress = None
    ) -> None:
        """Drop removed images for good, and learn again what deserves it (retrain: everything, nothing, or None to
        decide by what is measured). Without tokens the index is smaller, and later additions cost quality."""
        self._put(
            living.compact(self.stored_, retrain=retrain, keep_tokens=keep_tokens, on_progress=on_progress),
            PARTS,
        )

    def search(
        self,
        image: Source,
        k: int = 10,
        *,
        where: str | None = None,
        allow: Iterable[str | int] | None = None,
        collapse: bool = False,
        min_score: float = 0.0,
        beam_size: int | None = None,
        rerank: bool | None = None,
    ) -> list[SearchResult]:
        """The k most probable images, best first: exactly min(k, N) of them. ImageReadError for a bad image.

        Args:
            where: a condition on metadata, such as `album = "2019" and width > 800`.
            allow: image_ids or ids; only these are found. With a filter there are min(k, allowed) results, and the
                scores are probabilities among the allowed.
            collapse: leave out what is near-identical to a better result.
            rerank: order the results by likeness too; None does so in an index without labels (ranking.search_inputs).
        """
        return self.search_many(
            [image],
            k,
            where=where,
            allow=allow,
            collapse=collapse,
            min_score=min_score,
            beam_size=beam_size,
            rerank=rerank,
        )[0]

    def search_many(
        self,
        images: Sequence[Source],
        k: int = 10,
        *,
        where: str | None = None,
        allow: Iterable[str | int] | None = None,
        collapse: bool = False,
        min_score: float = 0.0,
        beam_size: int | None = None,
        rerank: bool | None = None,
        batch_size: int = 64,
    ) -> list[list[SearchResult]]:
        """`search` for many images, in batches."""
        within = self._filters.get(self.stored_, where, allow)
        if collapse and self._similarity is None:
            self._similarity = Similarity(self.stored_)
        options: dict[str, Any] = {"within": within, "beam_size": beam_size, "rerank": rerank}
        if collapse:
            options["similarity"] = self._similarity
        search: Callable[..., Any] = search_distinct if collapse else ranking.search_inputs
        found: list[list[SearchResult]] = []
        for start in range(0, len(images), batch_size):
            chunk = images[start : start + batch_size]
            batch = np.stack([load_square(image, self.loader.image_size) for image in chunk])
            inputs = self.loader.inputs(torch.from_numpy(batch).permute(0, 3, 1, 2))
            ids, scores = search(self.stored_, inputs, k, **options)
            found += [self._results(*row, min_score) for row in zip(ids, scores, strict=True)]
        return found

    def search_inputs(
        self, inputs: Tensor, k: int = 10, *, within: Trie | None = None, beam_size: int | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Ids (B, min(k, N)) and scores for model inputs (B, *input_shape), best first.

        `within` is a restriction of `trie_`, to search in it only.
        """
        return ranking.search_inputs(self.stored_, inputs, k, within=within, beam_size=beam_size)

    def near_identical(self, threshold: float = NEAR_IDENTICAL) -> list[list[str]]:
        """Groups of image_ids that show the same picture: cropped, mirrored, brighter or compressed copies.

        Raises UsageError where the index keeps no tokens.
        """
        groups = near_identical(self.stored_, threshold)
        return [[self.image_ids_[i] for i in members] for members in groups]

    def evaluate(
        self,
        queries: Images | None = None,
        labels: Sequence[str] | None = None,
        *,
        outside: Images | None = None,
        beam_size: int | None = None,
        on_progress: OnProgress = None,
    ) -> dict[str, Metric]:
        """IA@1 and IA@5 over the indexed images; P@10, MAP@10, MAP and Recall@100 over queries with classes.

        Args:
            queries: a folder of class folders, or a sequence with `labels`.
            outside: photos that were never indexed. AUROC is then the chance that the best result of an altered copy
                of an indexed image, held out when the index was built, scores higher than that of one of these.
            beam_size: for IA, P@10 and MAP@10; MAP and Recall@100 score every id.

        An indexed image's class is its label, or else the first part of its image_id.
        """
        return quality.evaluate(self.stored_, self.loader, queries, labels, outside, beam_size, on_progress)

    def save(self, path: str | Path) -> None:
        """Write the index as a folder, or what changed of it into the folder it came from, as one transaction."""
        target = Path(path).absolute()
        generation = write_index(target, self.stored_, self._changed if target == self._origin else None)
        self._stored = dataclasses.replace(self.stored_, generation=generation)
        self._origin, self._changed = target, set()

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto", cache: Path | None = None) -> ImageIndex:
        """Open an index. Raises IndexFormatError for a folder that is none, is broken, or is of a newer version."""
        stored = read_index(Path(path))
        index = cls(stored.config, cache=cache)
        index.device = device_for(device)
        stored.model.to(index.device)
        index._put(stored, ())
        index._origin, index._changed = Path(path).absolute(), set()
        return index

    def info(self) -> dict[str, Any]:
        """Size, ids, room for more, what was changed and what the build measured."""
        return describe(self.stored_, self._origin)

    def _put(self, stored: Stored, changed: Iterable[str]) -> None:
        """What this index is from now on."""
        self._stored = stored
        self._filters, self._similarity = Filters(), None
        self._changed |= set(changed)

    def _results(
        self, ids: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], min_score: float
    ) -> list[SearchResult]:
        best = [(int(i), float(s)) for i, s in zip(ids, scores, strict=True) if i >= 0 and s >= min_score]
        return [SearchResult(rank, self.image_ids_[i], s, i) for rank, (i, s) in enumerate(best, start=1)]

    def _read(self, images: Images, labels: Sequence[str] | None, on_progress: OnProgress) -> Collection:
        by_folder = self.config.labels == "folder"
        return read_images(images, labels, self.loader, on_progress, by_folder=by_folder)
