"""ImageIndex: build, search, change, evaluate, save and load an index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vitdsi.backbones.reader import FeatureReader, device_for
from vitdsi.collection.add import AddResult, add
from vitdsi.collection.build import build, check_names
from vitdsi.collection.compact import compact
from vitdsi.collection.held import ComparedPhoto, compare_with_index
from vitdsi.collection.info import info
from vitdsi.collection.parts import GROWING, PARTS
from vitdsi.collection.read import Images, Metadata, read_collection
from vitdsi.collection.recall import with_features
from vitdsi.collection.remove import remove
from vitdsi.collection.storage import read_index, write_index
from vitdsi.columns.labels import Labels
from vitdsi.columns.names import Names
from vitdsi.config import IndexConfig
from vitdsi.config.budget import budget_of
from vitdsi.engine.base import Engine
from vitdsi.errors import ImageReadError, UsageError
from vitdsi.evaluation.evaluate import evaluate
from vitdsi.export.hub import pull, push
from vitdsi.export.onnx import export_onnx
from vitdsi.export.sharable import Sharing
from vitdsi.export.web import Web
from vitdsi.exported.manifest import FOLDER as EXPORT_FOLDER
from vitdsi.facts.best_copy import best_copy
from vitdsi.facts.facets import Facet
from vitdsi.ids.trie import Trie
from vitdsi.model.reading import reader_for
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.photos.decode import Source
from vitdsi.photos.regions import Region
from vitdsi.progress import OnProgress
from vitdsi.search.browse import ImagePage, facets, page_of_images
from vitdsi.search.decisions import decide_again, keep_both, with_decisions
from vitdsi.search.duplicates import near_identical
from vitdsi.search.filters import resolve_ids
from vitdsi.search.options import SearchOptions, SearchResult
from vitdsi.search.queries import photo_queries
from vitdsi.search.searcher import Searcher
from vitdsi.search.similarity import NEAR_IDENTICAL_SIMILARITY
from vitdsi.search.text import text_queries
from vitdsi.search.verify import keypoints_for, options_for_candidates, verify_results
from vitdsi.state import BuildReport, IndexState

if TYPE_CHECKING:
    from vitdsi.evaluation.metrics import Metric

__all__ = ["ImageIndex"]

_BATCH = 64


class ImageIndex:
    """An image collection held in the weights of a model: in a row for each image, and in what all images share.

    Args:
        config: the settings. The defaults suit a folder of photos.
        cache: the folder of the feature cache, or None without a cache.
        engine: where photos are read, such as `vitdsi.engine.local.LocalEngine(4)` for four processes, which needs a
            cache. None reads them in this process.
    """

    def __init__(
        self, config: IndexConfig | None = None, *, cache: Path | None = None, engine: Engine | None = None
    ) -> None:
        self._requested = config or IndexConfig()
        self.cache = cache
        self._engine = engine
        self.device = device_for(self._requested.device)
        self._reader: FeatureReader | None = None
        self._backbone: str | None = None  # where the weights are, if not where the settings say
        self._state: IndexState | None = None
        self._searcher: Searcher | None = None
        self._origin: Path | None = None  # where the index was loaded from or saved to
        self._changed: set[str] = set(PARTS)  # the parts that changed since then

    @property
    def config(self) -> IndexConfig:
        """The settings that the index was built with; before `fit`, the requested ones."""
        return self._requested if self._state is None else self._state.resolved

    @property
    def state_(self) -> IndexState:
        """Everything that the index holds. Raises UsageError before `fit` or `load`."""
        if self._state is None:
            raise UsageError("this ImageIndex is empty: call fit(images) or ImageIndex.load(path) first")
        return self._state

    @property
    def model_(self) -> Seq2Seq:
        """The trained model."""
        return self.state_.model

    @property
    def trie_(self) -> Trie:
        """The ids, with a mask of those that are live."""
        return self.state_.trie

    @property
    def image_ids_(self) -> Names:
        """The image_id of each id, including ids that were removed."""
        return self.state_.image_ids

    @property
    def labels_(self) -> Labels | None:
        """The class of each id, or None for an index without classes."""
        return self.state_.labels

    @property
    def features_(self) -> Tensor | None:
        """The stored features (N, *shape), or None if they were dropped."""
        return self.state_.features

    @property
    def report_(self) -> BuildReport:
        """The report of the build: measurements, skipped files, duplicates and unmatched metadata."""
        return self.state_.report

    @property
    def reader(self) -> FeatureReader:
        """The reader that turns photos into features; it is made at its first use."""
        if self._reader is None:
            self._reader = reader_for(
                self.config.model,
                None if self._state is None else self._state.weights,
                backbone=self._backbone,
                cache=self.cache,
                device=self.device,
                engine=self._engine,
            )
        return self._reader

    def fit(
        self,
        images: Images,
        labels: Sequence[str] | None = None,
        *,
        queries: Images | None = None,
        query_labels: Sequence[str] | None = None,
        metadata: Metadata | None = None,
        keep_features: bool | None = None,
        strict: bool = False,
        on_progress: OnProgress = None,
        checkpoint: Path | None = None,
        resume: bool = False,
    ) -> ImageIndex:
        """Build an index of a collection. `report_` describes the build afterwards.

        Args:
            images: a folder or a file, or a sequence of paths, Pillow images or uint8 arrays.
            labels: the class of each image; for a folder with `config.labels="folder"` it is the first sub-folder.
            queries: further photos that train retrieval and are not indexed, with their classes in query_labels.
            query_labels: the class of each of the queries.
            metadata: facts for filters: a CSV, TSV, JSON, JSONL or Parquet file, or a mapping of facts by image_id.
            keep_features: keep the features of the images in the index. None does so unless the feature cache has them,
                from which `add`, `compact` and `evaluate` then read them.
            strict: raise an error if any file cannot be read, instead of skipping it.
            on_progress: a function that is called with a `Progress` at intervals.
            checkpoint: the folder of the checkpoint from which `resume=True` continues after an interruption.
            resume: continue from that checkpoint.

        Raises:
            UsageError: no image can be read, or the labels do not fit.
            UnreadableImagesError: `strict`, and some files cannot be read.
        """
        check_names(self._requested)  # before the reader loads a backbone
        state = build(
            self._requested,
            images,
            labels,
            self.reader,
            queries=queries,
            query_labels=query_labels,
            metadata=metadata,
            strict=strict,
            on_progress=on_progress,
            checkpoint=checkpoint,
            resume=resume,
        )
        if keep_features is None:
            keep_features = not (self.reader.caches and state.hashes.complete)
        self._put(state if keep_features else replace(state, features=None), PARTS)
        return self

    def add(
        self,
        images: Images,
        labels: Sequence[str] | None = None,
        *,
        prefix: str = "",
        replace: bool = False,
        metadata: Metadata | None = None,
        strict: bool = False,
        on_progress: OnProgress = None,
    ) -> AddResult:
        """Add images. Existing ids never change. Images that the index has with the same content are left out.

        Args:
            images, labels, metadata, strict, on_progress: as for `fit`.
            prefix: a text to put before each image_id.
            replace: replace images whose content changed, instead of raising an error.

        Raises:
            UsageError: the content of an image changed and `replace` is not set, labels do not fit, or no id is free.
            UnreadableImagesError: `strict`, and some files cannot be read.
        """
        before = self.state_
        by_folder = before.resolved.labels == "folder"
        given = read_collection(
            images, labels, self.reader, on_progress, by_folder=by_folder, prefix=prefix, strict=strict
        ).with_facts(metadata)
        state, result = add(before, given, self.reader, replace_changed=replace, on_progress=on_progress)
        if state is not before:
            self._put(state, GROWING)
        return result

    def remove(self, images: Iterable[str | int]) -> None:
        """Remove images, given as image_ids or ids. It needs no training and changes no other image's log-probability.

        Scores are calibrated again if more than one in a hundred images came or went since they last were.

        Raises:
            UsageError: an image is not in the index.
        """
        self._put(remove(self.state_, resolve_ids(self.state_, images)), ("live",))

    def compact(
        self,
        *,
        retrain: bool | None = None,
        keep_features: bool = True,
        bytes_per_image: int | None = None,
        on_progress: OnProgress = None,
    ) -> None:
        """Drop removed images, and train the model again if that is worth it.

        It is the only change that moves probability without training: that of dropped images goes to those whose ids
        begin alike. Scores are calibrated again.

        Args:
            retrain: whether to build the index again from features, stored or cached. None does so if the index lost
                accuracy, or if more than half of it was added or removed since it was built.
            keep_features: keep the stored features, if there are any, and the thumbnails. Without them the index is
                smaller, and cannot find near-identical images.
            bytes_per_image: what the index may keep of each image, for its vector, its thumbnail and its keypoints, in
                this order. None keeps what there is.
            on_progress: as for `fit`.

        Raises:
            UsageError: `retrain` is set and there are no features, no image is left, or there are too few bytes.
        """
        budget = None if bytes_per_image is None else budget_of(bytes_per_image)
        given = self.state_
        state = given if retrain is False else self._with_features(needed=retrain is True)
        state = compact(
            state, retrain=retrain, keep_features=keep_features, budget=budget, on_progress=on_progress
        )
        self._put(state if given.features is not None else replace(state, features=None), PARTS)

    def search(
        self,
        image: Source | None = None,
        k: int = 10,
        *,
        text: str | None = None,
        where: str | None = None,
        allow: Iterable[str | int] | None = None,
        collapse: bool = False,
        min_score: float = 0.0,
        beam_size: int | None = None,
        rerank: bool | None = None,
        verify: bool | None = None,
        regions: int | None = None,
        region: Region | None = None,
        offset: int = 0,
        any_rotation: bool = False,
    ) -> list[SearchResult]:
        """Find the k most relevant images for a photo or a text, best first: min(k, N) results, or fewer with a filter.

        Without `beam_size` the most probable images are found exactly. They are then ordered by relevance, so scores
        and log-probabilities need not fall along the list.

        Args:
            image: a path, the bytes of an encoded file, a Pillow image, or a uint8 array (H, W, 3) or (H, W).
            text: what the images should show, in place of an image. The backbone must have a tower for text.
            k, where, allow, collapse, min_score, beam_size, rerank, verify, regions, region, offset, any_rotation: the
                attributes of `SearchOptions`.

        Raises:
            ImageReadError: the photo cannot be read.
            UsageError: an option is not valid.
        """
        if (image is None) == (text is None):
            raise UsageError("give an image or a text to search for, and not both")
        options = SearchOptions(
            k,
            where,
            allow,
            collapse,
            min_score,
            beam_size,
            rerank,
            verify,
            regions,
            region,
            offset,
            any_rotation,
        )
        texts = [] if text is None else [text]
        return self.search_with([] if image is None else [image], options, texts=texts)[0]

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
        verify: bool | None = None,
        regions: int | None = None,
        region: Region | None = None,
        offset: int = 0,
        any_rotation: bool = False,
        batch_size: int = _BATCH,
    ) -> list[list[SearchResult]]:
        """Search for many photos in batches of `batch_size`. See `search`."""
        options = SearchOptions(
            k,
            where,
            allow,
            collapse,
            min_score,
            beam_size,
            rerank,
            verify,
            regions,
            region,
            offset,
            any_rotation,
        )
        return self.search_with(images, options, batch_size=batch_size)

    def search_with(
        self,
        images: Sequence[Source],
        options: SearchOptions,
        *,
        texts: Sequence[str] = (),
        batch_size: int = _BATCH,
    ) -> list[list[SearchResult]]:
        """Search for many photos, then texts, with options that are given as one value. See `search`."""
        keypoints = keypoints_for(self.state_, options)
        wanted = options if keypoints is None else options_for_candidates(options)
        found: list[list[SearchResult]] = []
        for start in range(0, len(images), batch_size):
            some = images[start : start + batch_size]
            features, regions = photo_queries(self.state_, self.reader, some, options)
            found += self._searching().search(features, wanted, regions, to_verify=keypoints is not None)
        if keypoints is not None:
            found = [
                verify_results(keypoints, image, results, options)
                for image, results in zip(images, found, strict=True)
            ]
        for start in range(0, len(texts), batch_size):
            queries = text_queries(self.state_, self.reader, texts[start : start + batch_size], options)
            found += self._searching().search(queries, replace(options, pictures=False))
        return found

    def more_like(self, image: str | int, k: int = 10, **options: Any) -> list[SearchResult]:
        """Find the images most like one of the index, which is given by its image_id or id and is left out itself.

        No photo is read: the query is the stored feature of the image, or, where features were dropped, the vector that
        the model keeps for it.

        Args:
            image: an image_id or id.
            k: the number of results.
            options: further attributes of `SearchOptions`, except for `any_rotation`, `region` and `regions`.

        Raises:
            UsageError: the image is not in the index, an option is not valid, or the features were dropped and the
                embeddings of the model do not start from features.
        """
        return self.more_like_with(image, SearchOptions(k, **options))

    def more_like_with(self, image: str | int, options: SearchOptions) -> list[SearchResult]:
        """Find the images most like one of the index, with options that are given as one value. See `more_like`."""
        (number,) = resolve_ids(self.state_, [image])
        return self._searching().more_like(number, options)

    def images(
        self,
        where: str | None = None,
        *,
        allow: Iterable[str | int] | None = None,
        offset: int = 0,
        limit: int | None = None,
    ) -> ImagePage:
        """List the images that pass a filter, in the order in which they were added: their total, and one page of them.

        Args:
            where, allow: the filter, as for `search`.
            offset: the number of images to skip.
            limit: the most images to return. None returns all, and 0 only the total.

        Raises:
            UsageError: the filter is not valid, or a number is negative.
        """
        return page_of_images(self.state_, where, allow, offset=offset, limit=limit)

    def facets(
        self,
        by: Sequence[str] | None = None,
        *,
        where: str | None = None,
        allow: Iterable[str | int] | None = None,
        limit: int | None = None,
    ) -> list[Facet]:
        """Count the values of columns of the metadata among the images that pass a filter.

        Args:
            by: the columns. None stands for all columns with 1 to 50 different values.
            where, allow: the filter, as for `search`.
            limit: the number of values of each column that are returned at most, most frequent first.

        Raises:
            UsageError: the filter is not valid, or there is no such column.
        """
        return facets(self.state_, by, where, allow, limit=limit)

    def near_identical(self, threshold: float = NEAR_IDENTICAL_SIMILARITY) -> list[list[str]]:
        """Group the image_ids that show the same picture: crops, mirror images, other colours or qualities.

        Args:
            threshold: the least similarity of two images of a group, up to 1.2.

        Raises:
            UsageError: the index keeps nothing that pictures can be compared by.
        """
        groups = near_identical(self.state_, threshold)
        return [[self.image_ids_[i] for i in members] for members in groups]

    def best_copies(self, groups: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
        """Choose which image of each group to keep, by the facts about them, and say why.

        It is the one with the most pixels; among equals, that with the most bytes per pixel; then the oldest.

        Args:
            groups: groups of image_ids, none of them empty, such as those of `near_identical`.

        Returns:
            The image_id of each group, and the reason.

        Raises:
            UsageError: an image is not in the index.
        """
        named = list(dict.fromkeys(image_id for group in groups for image_id in group))
        ids = dict(zip(named, resolve_ids(self.state_, named), strict=True))
        facts = self.state_.metadata.rows(ids.values())
        chosen = (best_copy([facts[ids[image_id]] for image_id in group]) for group in groups)
        return [(group[position], why) for group, (position, why) in zip(groups, chosen, strict=True)]

    def keep_both(self, images: Iterable[str | int]) -> None:
        """Decide to keep all of these near-identical images: no two of them are reported again.

        Decisions are about the content of files, and are saved with the index.

        Raises:
            UsageError: an image is not in the index, or there are fewer than two.
        """
        self._put(keep_both(self.state_, resolve_ids(self.state_, images)), ("decisions",))

    def decide_again(self, images: Iterable[str | int]) -> None:
        """Forget what `keep_both` decided about any two of these images.

        Raises:
            UsageError: as for `keep_both`.
        """
        self._put(decide_again(self.state_, resolve_ids(self.state_, images)), ("decisions",))

    def keep_decisions_of(self, path: str | Path) -> None:
        """Take over the decisions that are stored in another index, such as that which this one will replace.

        Raises:
            UsageError, IndexFormatError: as `load`.
        """
        self._put(with_decisions(self.state_, read_index(Path(path)).decisions), ("decisions",))

    def compare(
        self,
        images: Images,
        threshold: float = NEAR_IDENTICAL_SIMILARITY,
        *,
        on_progress: OnProgress = None,
    ) -> tuple[list[ComparedPhoto], tuple[ImageReadError, ...]]:
        """Find which of other photos the index holds already, in whatever version. The index does not change.

        Args:
            images: as for `fit`.
            threshold: the least similarity of two versions of a picture, up to 1.2.
            on_progress: as for `fit`.

        Returns:
            The photos that could be read, each with the image_ids that show the same picture, and the files that could
            not be read.

        Raises:
            UsageError: the index keeps nothing that pictures can be compared by, or the folder cannot be read.
        """
        return compare_with_index(self.state_, images, self.reader, threshold, on_progress)

    def evaluate(
        self,
        queries: Images | None = None,
        labels: Sequence[str] | None = None,
        *,
        outside: Images | None = None,
        beam_size: int | None = None,
        on_progress: OnProgress = None,
    ) -> dict[str, Metric]:
        """Measure IA@1 and IA@5 over the indexed images, and P@10, MAP@10, MAP and Recall@100 over queries.

        Args:
            queries: photos with classes: a folder of class folders, or a sequence with `labels`. The class of an
                indexed image is its label, or without labels the first part of its image_id.
            labels: the class of each query.
            outside: photos outside the collection. AUROC is then the probability that a held-out view has a higher best
                score than one of these photos, which are altered in the same way if the views are altered copies.
            beam_size: the width of a beam search for IA, P@10 and MAP@10. None searches exactly. MAP and Recall@100
                score every id.
            on_progress: as for `fit`.
        """
        return evaluate(
            with_features(self.state_, self.reader),
            self.reader,
            queries,
            labels,
            outside=outside,
            beam_size=beam_size,
            on_progress=on_progress,
        )

    def save(self, path: str | Path) -> None:
        """Write the index to a folder in one transaction. Only changed parts are written to the folder it came from.

        Raises:
            UsageError: `path` exists and is not an index.
            IndexLockedError: another process is changing the index.
        """
        target = Path(path).absolute()
        generation = write_index(target, self.state_, self._changed if target == self._origin else None)
        self._state = replace(self.state_, generation=generation)
        self._origin, self._changed = target, set()

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        cache: Path | None = None,
        backbone: str | None = None,
        engine: Engine | None = None,
    ) -> ImageIndex:
        """Open an index.

        Args:
            path: the folder of the index.
            device: `cpu`, `cuda`, or `auto` for CUDA if it is available.
            cache: the folder of the feature cache, or None without a cache.
            backbone: where the weights of the backbone are, if not where they were at the build: a folder, or a name on
                the hub. They must be the same weights, which is checked when the first photo is read.
            engine: where photos are read; see the class.

        Raises:
            UsageError: there is no such folder.
            IndexFormatError: the folder is not an index, is broken, or has the format of a newer version.
        """
        state = read_index(Path(path))
        index = cls(state.requested, cache=cache, engine=engine)
        index._backbone = backbone
        index.device = device_for(device)
        state.model.to(index.device)
        index._put(state, ())
        index._origin, index._changed = Path(path).absolute(), set()
        return index

    def export_onnx(
        self,
        folder: str | Path | None = None,
        *,
        precision: str = "float32",
        images: str | Path | None = None,
    ) -> Path:
        """Write the index as ONNX graphs and flat arrays, which `vitdsi.exported` searches without torch.

        Args:
            folder: where to write. None writes it into the folder of the index, where `vitdsi search` finds it.
            precision: how weights are stored: `float32`, `float16` or `int8`.
            images: the folder that was indexed, or one of photos like those. int8 is calibrated with 64 of them; other
                precisions have no use for it.

        Returns:
            The folder.

        Raises:
            UsageError: onnx is not installed, there is no such precision, int8 has too few photos, `folder` exists and
                is not an exported index, the index is on a GPU, or `folder` is None and the index was not saved since
                it was changed.
        """
        saved = None if self._changed else self._origin
        if folder is not None:
            target = Path(folder)
        elif saved is not None:
            target = saved / EXPORT_FOLDER
        else:
            raise UsageError("the index was not saved since it was changed; save it, or give a folder")
        photos = None if images is None else Path(images)
        export_onnx(self.state_, self.reader, target, saved, precision=precision, images=photos)
        return target

    def export_web(
        self,
        folder: str | Path,
        *,
        images: str | Path | None = None,
        onnxruntime: str | Path | None = None,
        precision: str = "float16",
    ) -> Path:
        """Write the index with a page that searches it in a browser, from any host of static files.

        Args:
            folder: where to write.
            images: the folder that was indexed, of which small pictures are made for the page; int8 is calibrated with
                64 of the photos. None takes the small grey pictures that the index keeps.
            onnxruntime: the npm package `onnxruntime-web`, unpacked. None downloads it.
            precision: how weights are stored: `float32`, `float16` or `int8`.

        Returns:
            The folder.

        Raises:
            UsageError: as for `export_onnx`, the package cannot be downloaded, `images` has no photo of the index, or
                the backbone resizes photos in a way that ONNX cannot.
        """
        saved, target = None if self._changed else self._origin, Path(folder)
        web = Web(
            (saved or target).stem,
            None if onnxruntime is None else Path(onnxruntime),
        )
        photos = None if images is None else Path(images)
        export_onnx(self.state_, self.reader, target, saved, precision=precision, images=photos, web=web)
        return target

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = True,
        token: str | None = None,
        include: Iterable[str] = (),
        names: bool = True,
        license: str | None = None,
    ) -> str:
        """Share the index as a repository of the Hugging Face hub, with a model card; return the address of the commit.

        What a search needs is shared: the settings, the ids, the weights and the image_ids. The weights hold a vector
        for each photo.

        Args:
            repo_id: the name of the repository, OWNER/NAME. It is made if it does not exist.
            private: nobody else can see the repository. A public one of this name is then refused.
            token: the token for the hub; None takes that of `hf auth login`, or $HF_TOKEN.
            include: what to share beside it: `features`, `thumbnails`, `metadata`, `hashes`.
            names: share image_ids and names of classes. Otherwise images are numbered.
            license: the licence of the index, as an identifier of the hub, such as `cc-by-4.0`.

        Raises:
            UsageError: huggingface-hub is not installed, or the hub cannot be reached or refuses.
        """
        sharing = Sharing(include, names)
        return push(self.state_, repo_id, sharing, private=private, token=token, license=license)

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str,
        *,
        revision: str | None = None,
        token: str | None = None,
        device: str = "auto",
        cache: Path | None = None,
        backbone: str | None = None,
    ) -> ImageIndex:
        """Open an index from the Hugging Face hub. Files that were downloaded before are not downloaded again.

        Args:
            repo_id: the name of the repository, OWNER/NAME.
            revision: a branch, a tag or a commit; None is the main branch.
            token: the token for the hub; None takes that of `hf auth login`, or $HF_TOKEN.
            device, cache, backbone: as for `load`.

        Raises:
            UsageError: huggingface-hub is not installed, the hub cannot be reached, or has no such repository.
            IndexFormatError: the repository is not an index.
        """
        folder = pull(repo_id, revision=revision, token=token)
        index = cls.load(folder, device=device, cache=cache, backbone=backbone)
        index._origin, index._changed = None, set(PARTS)  # the cache of the hub's client must not be changed
        return index

    def info(self) -> dict[str, Any]:
        """Summarise the index as JSON values: size, ids, free ids, last changes and the report of the build."""
        return info(self.state_, self._origin)

    def _with_features(self, *, needed: bool) -> IndexState:
        """Return the state with features from the cache, if that has all. Unless `needed`, there may be no backbone."""
        try:
            return self.state_ if self.cache is None else with_features(self.state_, self.reader)
        except UsageError:
            if needed:
                raise
            return self.state_

    def _searching(self) -> Searcher:
        if self._searcher is None:
            self._searcher = Searcher(self.state_)
        return self._searcher

    def _put(self, state: IndexState, changed: Iterable[str]) -> None:
        self._state, self._searcher = state, None
        self._changed |= set(changed)
