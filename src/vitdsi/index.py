"""ImageIndex: fit a model to a collection, search it, evaluate it, save and load it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi.beam import beam_search
from vitdsi.build import (
    Collection,
    OnProgress,
    build_model,
    build_trie,
    read_collection,
    read_folder,
    training_data,
)
from vitdsi.config import IndexConfig, check
from vitdsi.errors import ImageReadError, UsageError
from vitdsi.features import InputLoader, device_for
from vitdsi.images import Source, load_square
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.storage import Stored, read_index, write_index
from vitdsi.training.loop import train
from vitdsi.trie import Trie

if TYPE_CHECKING:
    from vitdsi.evaluation.metrics import Metric

__all__ = ["ImageIndex", "SearchResult", "default_cache"]

_MIN_BEAM = 12
Images = str | Path | Sequence[Source]


def default_cache() -> Path:
    """Where features of files are kept between runs: $VITDSI_CACHE, else the user's cache folder."""
    given = os.environ.get("VITDSI_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vitdsi"


@dataclass(frozen=True)
class SearchResult:
    """One found image. score: the model's probability of its id, so the scores of all ids sum to 1."""

    rank: int
    image_id: str
    score: float
    id: int


class ImageIndex:
    """An image collection held in a model's weights.

    Args:
        config: everything that can be chosen; the defaults suit a folder of photos.
        cache: folder in which features of files are kept between runs; None keeps none.

    After `fit` or `load`:
        image_ids_: image_id of each id.
        labels_: class of each id, or None.
        model_, trie_: the model and the live ids.
        skipped_: files that could not be read. duplicates_: groups of image_ids with the same bytes.
        report_: what the build measured.
    """

    def __init__(self, config: IndexConfig | None = None, *, cache: Path | None = None) -> None:
        self.config = config or IndexConfig()
        check(self.config)
        self.cache = cache
        self.device = device_for(self.config.device)
        self.image_ids_: list[str] = []
        self.labels_: list[str] | None = None
        self.skipped_: list[ImageReadError] = []
        self.duplicates_: list[list[str]] = []
        self.report_: dict[str, Any] = {}
        self.inputs_: Tensor | None = None
        self._loader: InputLoader | None = None
        self._model: Seq2Seq | None = None
        self._trie: Trie | None = None

    @property
    def model_(self) -> Seq2Seq:
        """The fitted model; UsageError before `fit` or `load`."""
        if self._model is None:
            raise UsageError("this ImageIndex is empty: call fit(images) or ImageIndex.load(path) first")
        return self._model

    @property
    def trie_(self) -> Trie:
        """The live ids."""
        assert self.model_ is not None and self._trie is not None
        return self._trie

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
        on_progress: OnProgress = None,
        state: Path | None = None,
        resume: bool = False,
    ) -> ImageIndex:
        """Learn a collection.

        Args:
            images: a folder or file, or a sequence of paths, PIL images or uint8 arrays.
            labels: one class an image; with a folder and config.labels "folder", its first sub-folder.
            queries, query_labels: more photos that are not indexed but train retrieval.
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
        trie = build_trie(self.config, collection)
        model = build_model(self.config, trie, collection.inputs)
        data = training_data(self.config, trie, collection, extra, self.loader, on_progress)
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
        model.eval()
        self._model, self._trie = model, trie
        self.image_ids_, self.labels_ = collection.image_ids, collection.labels
        self.inputs_ = collection.inputs
        self.report_ = {
            "images": len(self.image_ids_),
            "steps": schedule.step,
            "seconds": round(time.monotonic() - started, 2),
            "seconds_reading": round(read - started, 2),
            "IA@1": round(
                float((self._rankings(self.inputs_, 1)[:, 0] == np.arange(len(trie.codes))).mean()), 4
            ),
            "history": schedule.history,
        }
        return self

    def search(self, image: Source, k: int = 10, *, beam_size: int | None = None) -> list[SearchResult]:
        """The k most probable images, best first: exactly min(k, N) of them. ImageReadError for a bad image."""
        return self.search_many([image], k, beam_size=beam_size)[0]

    def search_many(
        self, images: Sequence[Source], k: int = 10, *, beam_size: int | None = None, batch_size: int = 64
    ) -> list[list[SearchResult]]:
        """`search` for many images, in batches."""
        found: list[list[SearchResult]] = []
        for start in range(0, len(images), batch_size):
            batch = [
                load_square(image, self.loader.image_size) for image in images[start : start + batch_size]
            ]
            pixels = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)
            ids, scores = self.search_inputs(self.loader.inputs(pixels), k, beam_size=beam_size)
            found += [self._results(*row) for row in zip(ids, scores, strict=True)]
        return found

    @torch.inference_mode()
    def search_inputs(
        self, inputs: Tensor, k: int = 10, *, beam_size: int | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Ids (B, min(k, N)) and probabilities for model inputs (B, *input_shape), best first."""
        if k < 1:
            raise UsageError(f"k is {k}; it must be at least 1")
        if beam_size is not None and beam_size < k:
            raise UsageError(f"beam_size is {beam_size}; it must be at least k = {k}")
        trie = self.trie_
        ids, log_probs = beam_search(
            self.model_, inputs.to(self.device).float(), trie, beam_size or max(_MIN_BEAM, k + 2)
        )
        return ids[:, :k].cpu().numpy(), log_probs[:, :k].exp().cpu().numpy()

    def evaluate(
        self, queries: Images, labels: Sequence[str] | None = None, *, beam_size: int | None = None
    ) -> dict[str, Metric]:
        """IA@1 and IA@5 over the indexed images; P@10, MAP@10, MAP and Recall@100 over queries with classes.

        Args:
            queries: a folder of class folders, or a sequence with `labels`.
            beam_size: for IA, P@10 and MAP@10; MAP and Recall@100 score every id.

        An indexed image's class is its label, or else the first part of its image_id.
        """
        from vitdsi.evaluation.metrics import indexing_accuracy, summarise

        given = self._read(queries, labels, None, folder_labels=True)
        if given.labels is None:
            raise UsageError(
                "evaluate() needs the queries' classes: give labels, or a folder of class folders"
            )
        classes = self.labels_ or [image_id.split("/")[0] for image_id in self.image_ids_]
        by_class: dict[str, list[int]] = {}
        for i in self.trie_.live_ids().tolist():
            by_class.setdefault(classes[i], []).append(i)
        relevant = [np.array(by_class.get(label, []), dtype=np.int64) for label in given.labels]
        live = sum(map(len, by_class.values()))
        metrics: dict[str, Metric] = {}
        if self.inputs_ is not None:
            own = self.trie_.live_ids()
            metrics |= indexing_accuracy(self._rankings(self.inputs_[own], 5, beam_size), own.numpy(), live)
        metrics |= summarise(self._rankings(given.inputs, 10, beam_size), relevant, live, ("P@10", "MAP@10"))
        full = self._rankings(given.inputs, live, live)
        return metrics | summarise(full, relevant, live, ("MAP", "Recall@100"))

    def save(self, path: str | Path) -> None:
        """Write the index as a folder; an index that stood there is replaced as a whole."""
        stored = Stored(
            self.config, self.model_, self.trie_, self.image_ids_, self.labels_, self.report_, self.inputs_
        )
        write_index(Path(path), stored)

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto", cache: Path | None = None) -> ImageIndex:
        """Open an index. Raises IndexFormatError for a folder that is none, is broken, or is of a newer version."""
        stored = read_index(Path(path))
        index = cls(stored.config, cache=cache)
        index.device = device_for(device)
        index._model, index._trie = stored.model.to(index.device).eval(), stored.trie
        index.image_ids_, index.labels_ = stored.image_ids, stored.labels
        index.report_, index.inputs_ = stored.report, stored.inputs
        return index

    def info(self) -> dict[str, Any]:
        """Size, ids and what the build measured."""
        trie = self.trie_
        return {
            "images": len(trie.live_ids()),
            "scheme": self.config.ids.scheme,
            "base": trie.vocabulary.base,
            "digits": trie.max_length,
            "inner_nodes": trie.num_nodes,
            "parameters": sum(p.numel() for p in self.model_.parameters()),
            "labels": self.config.labels,
            "stem": self.config.model.stem,
            "report": {key: value for key, value in self.report_.items() if key != "history"},
        }

    def _results(self, ids: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]) -> list[SearchResult]:
        return [
            SearchResult(rank, self.image_ids_[int(i)], float(score), int(i))
            for rank, (i, score) in enumerate(zip(ids, scores, strict=True), start=1)
        ]

    def _rankings(self, inputs: Tensor, k: int, beam_size: int | None = None) -> npt.NDArray[np.int64]:
        """Ids (Q, min(k, N)) of stored inputs, in batches small enough for a beam of any size."""
        beam = beam_size or max(_MIN_BEAM, k + 2)
        batch = max(1, min(64, 20_000 // beam))
        return np.concatenate(
            [
                self.search_inputs(self._ready(part), k, beam_size=max(beam, k))[0]
                for part in torch.split(inputs, batch)
            ]
        )

    def _ready(self, inputs: Tensor) -> Tensor:
        """Stored inputs as the model reads them: pixels are stored as bytes."""
        return inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs.float()

    def _read(
        self,
        images: Images,
        labels: Sequence[str] | None,
        on_progress: OnProgress,
        *,
        folder_labels: bool = False,
    ) -> Collection:
        if isinstance(images, (str, Path)):
            wanted = (
                "folder" if (folder_labels or self.config.labels == "folder") and labels is None else "none"
            )
            names, sources, found = read_folder(Path(images), wanted)
        else:
            sources, found = list(images), None
            names = list(_names(sources))
        if labels is not None:
            if len(labels) != len(sources):
                raise UsageError(f"{len(labels)} labels were given for {len(sources)} images")
            found = list(labels)
        return read_collection(names, sources, found, self.loader, on_progress)


def _names(sources: Sequence[Source]) -> Iterator[str]:
    """image_ids of a sequence: the paths as given, positions for images without one; repeated ones are numbered."""
    seen: dict[str, int] = {}
    for position, source in enumerate(sources):
        name = Path(source).as_posix() if isinstance(source, (str, Path)) else f"{position:06d}"
        count = seen[name] = seen.get(name, 0) + 1
        yield name if count == 1 else f"{name}#{count}"
