"""Adding images to an index: new ids, rows solved from the features, and a short training run with replay.

Existing ids never change. New images get ids that begin with the prefixes that the model already predicts for them,
and the head takes their embeddings as their rows (imprinting, Qi et al. 2018). Mostly that is enough, and nothing is
trained. IncDSI (Kishore et al. 2023) also solves for the new documents alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vitdsi.backbones.features import are_pixels, pooled
from vitdsi.backbones.reader import FeatureReader
from vitdsi.collection.build import hard_views_of
from vitdsi.collection.keypoints import grown_keypoints
from vitdsi.collection.placement import codes_for, places_by_model
from vitdsi.collection.read import Collection
from vitdsi.collection.remove import remove
from vitdsi.config import TrainingConfig
from vitdsi.errors import ImageReadError, UsageError
from vitdsi.ids.trie import Trie
from vitdsi.model.coding import with_row_bytes
from vitdsi.model.graft import graft
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.model.stems.pooled_stem import PooledStem
from vitdsi.progress import OnProgress
from vitdsi.search.calibrate import calibrate
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rank, rankings
from vitdsi.state import HeldOut, IndexState
from vitdsi.training.alterations import (
    MAX_HELD_OUT,
    imagine_alterations,
    measure_alterations,
    read_altered,
    views_of,
)
from vitdsi.training.data import TrainingData
from vitdsi.training.loop import train
from vitdsi.training.targets import Relevance, WeightedRelevance
from vitdsi.training.teacher import label_relevance, own_relevance, teacher_relevance

REPLAYED_PER_IMAGE = 4  # old images that are replayed for each new one
MIN_REPLAYED = 500  # old images that are replayed at least
SHORT_EPOCHS, SHORT_STEPS = 6.0, 20  # length of the short run; the longer one counts
SUFFICIENT_ACCURACY = 0.98  # IA@1 of the new images below which all weights are trained
REMEMBERED_RESULTS = 20  # results of the old model that serve as targets if the features were dropped
ANCHOR_STRENGTH = 1.0  # weight of the penalty on moved weights
HELD_OUT_SHARE = 0.25  # of new images, of which an altered copy calibrates the scores


@dataclass(frozen=True)
class AddResult:
    """The result of an addition.

    Attributes:
        image_ids: the images that were added.
        replaced: those of them that took the place of an image with the same image_id and other content.
        unchanged: the number of images that were left out because the index has them with the same content.
        skipped: the files that could not be read.
        duplicates: groups of given image_ids whose files have the same bytes.
        unmatched: names in the metadata that no given image has.
    """

    image_ids: list[str]
    replaced: list[str]
    unchanged: int
    skipped: tuple[ImageReadError, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    unmatched: tuple[str, ...] = ()


def add(
    state: IndexState,
    given: Collection,
    reader: FeatureReader,
    *,
    replace_changed: bool = False,
    on_progress: OnProgress = None,
) -> tuple[IndexState, AddResult]:
    """Add the new images of a collection to an index.

    Args:
        given: the collection. Images that the index has with the same content are left out.
        replace_changed: replace images whose content changed, instead of raising an error.

    Raises:
        UsageError: images whose content changed, without `replace_changed`; classes that do not fit the index; or no
            id is free.
    """
    fresh, replaced = new_images(state, given)
    if replaced and not replace_changed:
        raise UsageError(
            f"in the index with another content: {len(replaced)} image_ids, such as "
            f"{state.image_ids[replaced[0]]!r}; replace them (--replace), or tell them apart (--prefix NAME/)"
        )
    result = AddResult(
        fresh.image_ids,
        [state.image_ids[i] for i in replaced],
        len(given) - len(fresh),
        given.skipped,
        given.duplicates,
        given.unmatched,
    )
    if not len(fresh):
        return state, result
    if state.labels is not None and fresh.labels is None:
        raise UsageError("the images of this index have classes; give labels, or a folder of class folders")
    if replaced:
        state = remove(state, replaced)
    return add_new(state, fresh, reader, on_progress), result


def new_images(state: IndexState, given: Collection) -> tuple[Collection, list[int]]:
    """Find the images that the index does not have with this content, and the ids that they replace."""
    id_of = {state.image_ids[i]: i for i in state.trie.live_ids().tolist()}
    new: list[int] = []
    replaced: list[int] = []
    for position, (image_id, content) in enumerate(zip(given.image_ids, given.hashes, strict=True)):
        number = id_of.get(image_id)
        if number is not None and content and state.hashes[number] == content:
            continue
        new.append(position)
        if number is not None:
            replaced.append(number)
    return given.take(new), replaced


def add_new(
    state: IndexState, fresh: Collection, reader: FeatureReader, on_progress: OnProgress = None
) -> IndexState:
    """Add images that the index does not have, as ids N, N + 1, ...

    Raises UsageError if no id is free, or if classes do not fit the index.
    """
    before = len(state.image_ids)
    new_ids = torch.arange(before, before + len(fresh))
    embeddings = state.model.embeddings(fresh.features)
    live = torch.cat([state.trie.live, torch.ones(len(fresh), dtype=torch.bool)])
    trie = Trie(codes_for(state, fresh, embeddings), state.trie.vocabulary.base, live)
    model, known = graft(state.model, state.trie, trie, state.resolved.seed)
    hard = hard_views_of(state.resolved, fresh, reader, on_progress)
    stem, vectors = state.model.stem, embeddings
    if hard is not None and isinstance(stem, PooledStem):
        vectors = stem.drawn_to_views(embeddings, fresh.features, hard)
    vectors = _with_categories_of_classes(state, fresh, vectors)
    model.head.imprint(trie, new_ids, vectors, state.resolved.seed, known=known)
    grown = replace(
        state,
        model=model,
        trie=trie,
        image_ids=[*state.image_ids, *fresh.image_ids],
        labels=None if state.labels is None else [*state.labels, *(fresh.labels or [])],
        hashes=[*state.hashes, *fresh.hashes],
        features=None if state.features is None else torch.cat([state.features, fresh.features]),
        thumbnails=None if state.thumbnails is None else torch.cat([state.thumbnails, fresh.thumbnails]),
        metadata=state.metadata.adding({before + i: facts for i, facts in fresh.facts.items()}),
        changes=state.changed("add", len(new_ids)),
        keypoints=grown_keypoints(state, fresh, reader, on_progress),
    )
    remembered = None if state.features is not None else _remembered(state, fresh.features)
    grown = _learn(grown, fresh, hard, new_ids, state.trie.live_ids(), remembered, reader, on_progress)
    return calibrate(replace(grown, held_out=_held_out(grown, fresh, reader, on_progress)))


def _with_categories_of_classes(state: IndexState, fresh: Collection, embeddings: Tensor) -> Tensor:
    """Return vectors (n, E) of new images with the category part that the images of their classes have.

    An image of a new class keeps its own, and so does every image of an index without classes.
    """
    known = state.category_vectors()
    if known is None or state.resolved.labels != "folder" or state.labels is None or fresh.labels is None:
        return embeddings
    embeddings = embeddings.clone()
    first = {state.labels[i]: i for i in reversed(state.trie.live_ids().tolist())}
    for row, label in enumerate(fresh.labels):
        if label in first:
            embeddings[row, -known.shape[1] :] = known[first[label]]
    return embeddings


def _held_out(
    grown: IndexState, fresh: Collection, reader: FeatureReader, on_progress: OnProgress
) -> HeldOut | None:
    """Return the held-out views with altered copies of some new images among them, none of which is trained on."""
    if grown.held_out is None:
        return None
    first = len(grown.image_ids) - len(fresh)
    rng = np.random.default_rng([grown.resolved.seed, first])
    chosen = np.sort(rng.permutation(len(fresh))[: max(1, round(HELD_OUT_SHARE * len(fresh)))][:MAX_HELD_OUT])
    read = read_altered([fresh.sources[i] for i in chosen], reader, (grown.resolved.seed, first), on_progress)
    rows = chosen[read.kept]
    ids = torch.from_numpy(first + rows)
    labels = None if grown.held_out.labels is None else [(grown.labels or [])[i] for i in ids.tolist()]
    views = grown.held_out.joined(HeldOut(read.features, ids, labels))
    kept = torch.from_numpy(np.sort(rng.permutation(len(views.ids))[:MAX_HELD_OUT]))
    return views.take(kept)


def _learn(
    grown: IndexState,
    fresh: Collection,
    hard: Tensor | None,
    new_ids: Tensor,
    old: Tensor,
    remembered: Relevance | None,
    reader: FeatureReader,
    on_progress: OnProgress,
) -> IndexState:
    """Train the model of `grown` on the new images and with replay of old ones, if that is needed.

    If the features were dropped, replay is impossible. Then the results of the old model for the new images are targets
    (`remembered`; learning without forgetting, Li and Hoiem 2016), and changes of the weights are penalised.

    If ids follow the features, the rows that the new images were given are mostly enough. Then nothing is trained.
    """
    if places_by_model(grown):
        found = rankings(grown, fresh.features, SearchOptions(k=1))[:, 0] == new_ids.numpy()
        if found.mean() >= SUFFICIENT_ACCURACY:
            return grown
    config, first = grown.resolved, int(new_ids[0])
    has_replay = grown.features is not None
    features, start = (fresh.features, first) if grown.features is None else (grown.features, 0)
    if len(grown.differences):
        alterations = imagine_alterations(config, features, grown.differences.float(), new_ids, start)
    else:
        alterations = measure_alterations(config, fresh.sources, fresh.features, reader, on_progress)
        alterations = replace(alterations, rows=alterations.rows + first)
    alterations = replace(alterations, hard=hard, first_hard=first)
    generator = torch.Generator().manual_seed(config.seed + first)
    old = old[torch.randperm(len(old), generator=generator)]

    replayed = max(REPLAYED_PER_IMAGE * len(new_ids), MIN_REPLAYED) if has_replay else 0
    some = old[:replayed].sort().values
    rows = torch.cat([some, new_ids.repeat(max(1, round(len(some) / len(new_ids))))])
    data = TrainingData(
        grown.trie,
        rows,
        views_of(features, alterations, start),
        remembered or _relevance(grown, torch.unique(rows)),
        rows,
        alterations.inputs,
        alterations.rows,
    )
    model = with_row_bytes(grown.model, grown.trie, None)
    penalty = None if has_replay else _anchor(model)
    training = _short_run(config.training, len(rows))
    train(model, data, training, seed=config.seed + first, on_progress=on_progress, penalty=penalty)
    model = with_row_bytes(model.eval(), grown.trie, grown.model.row_bytes, config.seed)
    return replace(grown, model=model)


def _short_run(training: TrainingConfig, rows: int) -> TrainingConfig:
    """Return the settings of the short run over this number of rows."""
    epochs = max(SHORT_EPOCHS, training.batch_size * SHORT_STEPS / rows)
    paper = replace(training.paper, schedule="joint", warmup_steps=1, weight_decay=0.0)
    return replace(training, minutes=None, max_epochs=epochs, evaluate_every=10, patience=2, paper=paper)


def _anchor(model: Seq2Seq) -> Callable[[], Tensor]:
    """Return a penalty on the squared distance of the trainable weights from their present values."""
    before = {name: value.detach().clone() for name, value in model.named_parameters()}

    def penalty() -> Tensor:
        moved = [
            (value - before[name]).square().sum()
            for name, value in model.named_parameters()
            if value.requires_grad
        ]
        return ANCHOR_STRENGTH * torch.stack(moved).sum()

    return penalty


def _remembered(state: IndexState, features: Tensor) -> Relevance | None:
    """Return the results of the model for new images (n, *shape) as the relevance of rows N, N + 1, ...; None if the
    index is empty."""
    options = SearchOptions(k=REMEMBERED_RESULTS, rerank=False)
    found = [rank(state, part, options) for part in torch.split(features, 64)]
    ids = torch.from_numpy(np.concatenate([part.ids for part in found]))
    weights = torch.from_numpy(np.concatenate([part.log_probs for part in found])).softmax(1)
    return WeightedRelevance(ids, weights, len(state.image_ids)) if ids.shape[1] else None


def _relevance(grown: IndexState, rows: Tensor) -> Relevance:
    """Find the relevant ids of each image. Without labels, only those of `rows` are filled in."""
    if grown.labels is not None and grown.resolved.labels == "folder":
        return label_relevance(grown.trie, grown.labels, grown.labels)
    if grown.features is None or are_pixels(grown.features):
        return own_relevance(len(grown.image_ids))
    vectors = grown.category_vectors()
    if vectors is None:
        vectors = pooled(grown.features)
    return teacher_relevance(vectors, grown.trie.live_ids(), rows, grown.resolved.training)
