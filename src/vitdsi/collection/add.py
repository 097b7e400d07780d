"""Adding images to an index: new ids, and rows solved from the features.

Existing ids never change. New images get ids that begin with the prefixes that the model already predicts for them,
and the head takes their embeddings as their rows (imprinting, Qi et al. 2018). Mostly that is enough; otherwise the
model is trained, in `vitdsi.collection.learn_added`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vitdsi.backbones.reader import FeatureReader
from vitdsi.collection.build import hard_views_of
from vitdsi.collection.keypoints import grown_keypoints
from vitdsi.collection.learn_added import held_out_with, learn_added
from vitdsi.collection.placement import codes_for
from vitdsi.collection.read import Collection
from vitdsi.collection.remove import remove
from vitdsi.columns.hashes import HASH_DIGITS
from vitdsi.errors import ImageReadError, UsageError
from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.graft import graft
from vitdsi.model.stems.pooled_stem import PooledStem
from vitdsi.progress import OnProgress
from vitdsi.search.calibrate import calibrate, needs_calibration
from vitdsi.state import IndexState


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
    new: list[int] = []
    replaced: list[int] = []
    for position, number in enumerate(state.live_ids_of(given.image_ids)):
        content = given.hashes[position][:HASH_DIGITS]
        if number != NONE and content and state.hashes[number] == content:
            continue
        new.append(position)
        if number != NONE:
            replaced.append(number)
    return given.take(new), replaced


def add_new(
    state: IndexState, fresh: Collection, reader: FeatureReader, on_progress: OnProgress = None
) -> IndexState:
    """Add images that the index does not have, as ids N, N + 1, ...

    Scores are calibrated again if the model was trained, or if more than one in a hundred images came or went since
    they last were.

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
        image_ids=state.image_ids.joined(fresh.image_ids),
        labels=None if state.labels is None else state.labels.joined(fresh.labels or []),
        hashes=state.hashes.joined(fresh.hashes),
        features=None if state.features is None else torch.cat([state.features, fresh.features]),
        thumbnails=None if state.thumbnails is None else state.thumbnails.joined(fresh.thumbnails),
        metadata=state.metadata.adding({before + i: facts for i, facts in fresh.facts.items()}),
        changes=state.changed("add", len(new_ids)),
        keypoints=grown_keypoints(state, fresh, reader, on_progress),
    )
    grown = learn_added(state, grown, fresh, hard, reader, on_progress)
    grown = replace(grown, held_out=held_out_with(grown, fresh, reader, on_progress))
    return calibrate(grown) if grown.model is not model or needs_calibration(grown) else grown


def _with_categories_of_classes(state: IndexState, fresh: Collection, embeddings: Tensor) -> Tensor:
    """Return vectors (n, E) of new images with the category part that the images of their classes have.

    An image of a new class keeps its own, and so does every image of an index without classes.
    """
    known = state.category_vectors()
    if known is None or state.resolved.labels != "folder" or state.labels is None or fresh.labels is None:
        return embeddings
    embeddings = embeddings.clone()
    live = state.trie.live_ids().numpy()
    numbers, first = np.unique(state.labels.rows.at(live), return_index=True)
    first_of = {state.labels.classes[n]: int(live[i]) for n, i in zip(numbers, first, strict=True)}
    for row, label in enumerate(fresh.labels):
        if label in first_of:
            embeddings[row, -known.shape[1] :] = known[first_of[label]]
    return embeddings
