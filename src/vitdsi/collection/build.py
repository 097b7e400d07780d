"""Building an index: read the photos, assign ids, make a model, train it, measure it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from vitdsi.backbones import check_backbone
from vitdsi.backbones.features import are_pixels, from_inputs, pooled
from vitdsi.backbones.reader import FeatureReader
from vitdsi.collection.keypoints import read_keypoints
from vitdsi.collection.read import Collection, Images, Metadata, read_collection
from vitdsi.collection.resolve import resolve_config
from vitdsi.columns.hashes import ContentHashes
from vitdsi.columns.labels import Labels
from vitdsi.columns.names import Names
from vitdsi.columns.thumbnails import Thumbnails
from vitdsi.config import IndexConfig
from vitdsi.engine.base import Engine
from vitdsi.errors import UsageError
from vitdsi.facts.store import MetadataStore
from vitdsi.ids import scheme_named
from vitdsi.ids.assign import assign_ids
from vitdsi.ids.trie import NONE
from vitdsi.model.architectures import ARCHITECTURES
from vitdsi.model.categories import Categories, categories_from_classes
from vitdsi.model.coding import with_row_bytes
from vitdsi.model.heads import HEADS
from vitdsi.model.initialise import make_model
from vitdsi.model.pictures import Pictures, pictures_from_views
from vitdsi.model.stems import STEMS
from vitdsi.progress import OnProgress
from vitdsi.registry import choose
from vitdsi.search.calibrate import MIN_VIEWS, calibrate
from vitdsi.search.rank import indexing_accuracy
from vitdsi.state import BuildReport, Change, HeldOut, IndexState
from vitdsi.training.alterations import Alterations, imagine_alterations, measure_alterations
from vitdsi.training.data import TrainingData, held_out_queries, training_data
from vitdsi.training.fine_tune import fine_tune
from vitdsi.training.hard_views import read_hard_views
from vitdsi.training.targets import Relevance, WeightedRelevance
from vitdsi.training.teacher import label_relevance, own_relevance, teacher_relevance
from vitdsi.training.text import CAPTION, with_text_differences
from vitdsi.training.together import train_with


def build(
    requested: IndexConfig,
    images: Images,
    labels: Sequence[str] | None,
    reader: FeatureReader,
    *,
    queries: Images | None = None,
    query_labels: Sequence[str] | None = None,
    metadata: Metadata | None = None,
    strict: bool = False,
    on_progress: OnProgress = None,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> IndexState:
    """Build the state of a new index.

    The arguments are those of `ImageIndex.fit`, which calls `check_names` first.
    """
    started = time.monotonic()
    by_folder = requested.labels == "folder"
    collection = read_collection(images, labels, reader, on_progress, by_folder=by_folder, strict=strict)
    if not len(collection):
        reason = f"; the first: {collection.skipped[0]}" if collection.skipped else ""
        raise UsageError(f"none of the {len(collection.skipped)} images could be read{reason}")
    more = None
    if queries is not None:
        more = read_collection(queries, query_labels, reader, on_progress, by_folder=by_folder, strict=strict)
    collection = collection.with_facts(metadata)
    config = resolve_config(requested, len(collection), len(more) if more else 0)
    trie = assign_ids(config, collection.features, collection.labels)
    categories = _categories(config, collection.features, collection.labels, more)
    hard = hard_views_of(config, collection, reader, on_progress)
    pictures = None
    if hard is not None:
        pictures = pictures_from_views(collection.features, hard, config.model.pictures)
    model = make_model(config.model, trie, collection.features, config.seed, pictures, categories)
    alterations = measure_alterations(config, collection.sources, collection.features, reader, on_progress)
    keypoints = None
    if config.keypoints:
        keypoints = read_keypoints(
            collection.sources, collection.hashes, config.keypoints, reader.cache_folder, on_progress
        )
    captions = {row: str(facts[CAPTION]) for row, facts in collection.facts.items() if CAPTION in facts}
    text_gap, differences = with_text_differences(
        alterations.differences, collection.features, captions, reader, config.seed
    )
    alterations = replace(alterations, differences=differences)
    seconds_reading = round(time.monotonic() - started, 2)
    state = IndexState(
        requested,
        config,
        model.to(reader.device),
        trie,
        Names.of(collection.image_ids),
        None if collection.labels is None else Labels.of(collection.labels),
        ContentHashes.of(collection.hashes),
        collection.features,
        Thumbnails.of(collection.thumbnails) if config.thumbnails else None,
        alterations.differences,
        MetadataStore.create(collection.facts),
        BuildReport(len(collection)),
        keypoints=keypoints,
        weights=reader.backbone.weights,
        text_gap=text_gap,
    )
    alterations = replace(alterations, hard=hard)
    state = learn(state, more, alterations, on_progress, checkpoint, resume, reader.engine)
    report = replace(
        state.report,
        seconds=round(time.monotonic() - started, 2),
        seconds_reading=seconds_reading,
        skipped=collection.skipped + (more.skipped if more else ()),
        duplicates=collection.duplicates,
        unmatched=collection.unmatched,
    )
    return replace(state, report=report)


def check_names(config: IndexConfig) -> None:
    """Raise UsageError for a name in the settings that is not registered, before any photo is read."""
    scheme_named(config.ids.scheme)
    check_backbone(config.model.backbone)
    choose(STEMS, "model.stem", config.model.stem)
    choose(HEADS, "model.paper.head", config.model.paper.head)
    choose(ARCHITECTURES, "model.paper.architecture", config.model.paper.architecture)


def hard_views_of(
    config: IndexConfig, collection: Collection, reader: FeatureReader, on_progress: OnProgress
) -> Tensor | None:
    """Read the hard views (n, V, F) of the photos of a collection; None if the model learns from none."""
    if not config.training.hard_views or collection.features.ndim != 2:
        return None
    return read_hard_views(
        collection.sources, collection.hashes, reader, config.training.hard_views, config.seed, on_progress
    )


def rebuild(
    state: IndexState, pictures: Pictures | None = None, on_progress: OnProgress = None
) -> IndexState:
    """Build an index of the same images again, all of which are live, from their stored features and with new ids.

    The requested settings are resolved again. Further photos that trained retrieval are not available any more, and
    alterations are those that were measured when the index was first built.

    Args:
        pictures: what the index learned about its pictures from hard views, which are not available any more either.
    """
    assert state.features is not None
    config = resolve_config(state.requested, len(state.image_ids))
    trie = assign_ids(config, state.features, state.labels)
    categories = _categories(config, state.features, state.labels)
    if pictures is not None and pictures.rows.shape[1] != config.model.pictures:
        pictures = None  # the width of the embedding follows the number of images
    if pictures is None:
        config = replace(config, training=replace(config.training, hard_views=0))
    model = make_model(config.model, trie, state.features, config.seed, pictures, categories)
    model = model.to(next(state.model.parameters()).device)
    alterations = imagine_alterations(
        config, state.features, state.differences.float(), torch.arange(len(state.image_ids))
    )
    rebuilt = learn(replace(state, resolved=config, model=model, trie=trie), None, alterations, on_progress)
    return replace(rebuilt, changes=(Change.now("build", len(state.image_ids)),))


def learn(
    state: IndexState,
    queries: Collection | None,
    alterations: Alterations,
    on_progress: OnProgress = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    engine: Engine | None = None,
) -> IndexState:
    """Train the model of a new state, with further photos for retrieval, and measure the result."""
    assert state.features is not None
    config = state.resolved
    features = state.features if queries is None else torch.cat([state.features, queries.features])
    relevance = relevance_of(state, queries)
    data = training_data(config, state.trie, features, relevance, alterations)
    schedule = train_with(
        engine,
        state.model,
        data,
        config.training,
        seed=config.seed,
        checkpoint=checkpoint,
        resume=resume,
        on_progress=on_progress,
    )
    model = with_row_bytes(state.model.eval(), state.trie, config.vector_bytes, config.seed)
    fine_tune(model, data, schedule, seed=config.seed + 1, on_progress=on_progress)
    state = replace(state, model=model)
    if state.held_out is None:
        state = replace(state, held_out=_held_out(state, queries, data, alterations))
    state = calibrate(state)
    accuracy, measured = indexing_accuracy(state) or (0.0, 0)
    report = replace(
        state.report,
        images=len(state.image_ids),
        steps=schedule.step,
        indexing_accuracy=round(accuracy, 4),
        accuracy_images=measured,
        teacher_recall=round(relevance.recall, 4) if isinstance(relevance, WeightedRelevance) else None,
        history=tuple(schedule.history),
    )
    return replace(state, report=report)


def _held_out(
    state: IndexState, queries: Collection | None, data: TrainingData, alterations: Alterations
) -> HeldOut | None:
    """Return the views that were held out: altered copies, or with classes further photos if there are enough.

    Copies that were only imagined do not count, since they are made of what was trained on.
    """
    assert state.features is not None
    rows, inputs, labels = alterations.rows, alterations.inputs, None
    if alterations.imagined:
        return None
    if state.resolved.labels == "folder" and state.labels is not None:
        if len(data.held_out_rows) >= MIN_VIEWS:
            rows, inputs = data.held_out_rows, data.held_out_inputs
        known = [*state.labels, *(queries.labels or [] if queries is not None else [])]
        labels = [known[row] for row in rows.tolist()]
    if not len(rows):
        return None
    ids = torch.where(rows < len(state.image_ids), rows, NONE)
    return HeldOut(from_inputs(inputs, state.features), ids, labels)


def _categories(
    config: IndexConfig, features: Tensor, labels: Sequence[str] | None, more: Collection | None = None
) -> Categories | None:
    """Learn category embeddings from classes; None where there are none, so that neighbours stand in for them.

    Photos that are held out of training are left out.
    """
    if config.labels != "folder" or labels is None or features.ndim != 2 or not config.model.categories:
        return None
    count, known = len(features), labels
    if more is not None and more.labels is not None:
        held_out = set((held_out_queries(config.seed, count, len(more)) - count).tolist())
        kept = [i for i in range(len(more)) if i not in held_out]
        features, known = (
            torch.cat([features, more.features[kept]]),
            [*labels, *(more.labels[i] for i in kept)],
        )
    return categories_from_classes(features.float(), known, count, config.model.categories)


def relevance_of(state: IndexState, queries: Collection | None) -> Relevance:
    """Find the relevant ids of each image of a new state, and of each further photo that trains retrieval."""
    config, count = state.resolved, len(state.image_ids)
    if config.labels == "folder":
        if state.labels is None:
            raise UsageError("labels=folder needs class folders, or labels given to fit()")
        if queries is not None and queries.labels is None:
            known = ", ".join(sorted(set(state.labels)))
            raise UsageError(f"the queries have no classes; the indexed images have {known}")
        more = queries.labels if queries is not None and queries.labels is not None else []
        return label_relevance(state.trie, state.labels, [*state.labels, *more])
    assert state.features is not None
    if are_pixels(state.features):
        if queries is not None:
            raise UsageError(
                "queries train retrieval by class or by features; use labels=folder or a backbone's stem"
            )
        return own_relevance(count)
    everything = torch.arange(count)
    vectors, more_vectors = state.category_vectors(), None
    if vectors is not None and queries is not None:
        more_vectors = state.model.embeddings(queries.features)[:, -vectors.shape[1] :]
    elif vectors is None:
        vectors = pooled(state.features)
        more_vectors = None if queries is None else pooled(queries.features)
    return teacher_relevance(vectors, everything, everything, config.training, more_vectors)
