"""A living collection: images come and go, and nobody else's id changes.

Adding: free codes for the new images, a head that has learned them already as far as features can say (imprinting,
Qi et al. 2018; IncDSI, Kishore et al. 2023, solves for the new ids alone as well), then a short run on the new images
with replay of old ones. Removing is an edit of the trie. Functions take what an index is and return what it becomes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitdsi.build import (
    Collection,
    OnProgress,
    build_model,
    build_trie,
    imagine_alterations,
    measure_alterations,
    ready,
    summary,
    training_data,
    views_of,
)
from vitdsi.errors import UsageError
from vitdsi.features import InputLoader
from vitdsi.ids import grow, length_for
from vitdsi.model.graft import graft
from vitdsi.model.head import TrieHead
from vitdsi.model.initialise import imprint
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.placing import place
from vitdsi.quality import calibrate
from vitdsi.ranking import own_rank_one, rankings, search_inputs
from vitdsi.relevance import nearest, neighbours_among, teacher_weights
from vitdsi.storage import Stored
from vitdsi.tokens import Codes
from vitdsi.training.loop import TrainingData, train
from vitdsi.training.targets import GroupRelevance, Relevance, WeightedRelevance
from vitdsi.trie import NONE, Trie

_REPLAY, _LEAST_REPLAY = 4, 500  # old images replayed for each new one, and where old weights are to move
_EPOCHS, _LEAST_STEPS = 6.0, 20
_REMEMBERED = 20  # results of the model before, that it is to give after
_STIFFNESS = 1.0
_ENOUGH = 0.98  # IA@1 of the new images, below which more than their own digits is learned
_MUCH = 0.5  # share of the collection that may change before all is learned again


def add(stored: Stored, fresh: Collection, loader: InputLoader, on_progress: OnProgress = None) -> Stored:
    """The index with the images of `fresh` as ids N, N + 1, ...

    Raises UsageError where no id is free, where an image_id is taken, or where classes do not fit the index.
    """
    config, before = stored.config, len(stored.image_ids)
    new_ids = torch.arange(before, before + len(fresh.image_ids))
    new_inputs = ready(fresh.inputs)
    summaries = _summaries(stored.model, new_inputs)
    labels = None if stored.labels is None else [*stored.labels, *(fresh.labels or [])]
    codes = _codes(stored, fresh, new_inputs, summaries)
    trie = Trie(codes, stored.trie.vocabulary.base)
    model, known = graft(stored.model, stored.trie.nodes, trie, config.seed)
    imprint(model, trie, new_ids, summaries, config.seed, known=known)
    inputs = None if stored.inputs is None else torch.cat([stored.inputs, fresh.inputs])
    thumbnails = None if stored.thumbnails is None else torch.cat([stored.thumbnails, fresh.thumbnails])
    grown = replace(
        stored,
        model=model,
        trie=trie,
        image_ids=[*stored.image_ids, *fresh.image_ids],
        labels=labels,
        hashes=[*stored.hashes, *fresh.hashes],
        inputs=inputs,
        thumbnails=thumbnails,
        metadata=stored.metadata.adding({before + i: row for i, row in fresh.facts.items()}),
        changes=[*stored.changes, _change("add", len(new_ids))],
    )
    relevance = None if stored.inputs is not None else _predicted(stored, new_inputs)
    _learn(grown, fresh, new_ids, stored.trie.live_ids(), relevance, loader, on_progress)
    return grown


def remove(stored: Stored, ids: Sequence[int]) -> Stored:
    """The index without `ids`, which are live: an edit of the trie, no training."""
    return replace(
        stored,
        trie=stored.trie.without(ids),
        metadata=stored.metadata.removing(ids),
        changes=[*stored.changes, _change("remove", len(ids))],
    )


def what_is_new(stored: Stored, given: Collection) -> tuple[Collection, list[int]]:
    """The images that the index does not hold with this content, and the ids whose content they replace."""
    numbers = {stored.image_ids[i]: i for i in stored.trie.live_ids().tolist()}
    new: list[int] = []
    replaced: list[int] = []
    for position, (image_id, content) in enumerate(zip(given.image_ids, given.hashes, strict=True)):
        number = numbers.get(image_id)
        if number is not None and content and stored.hashes[number] == content:
            continue
        new.append(position)
        if number is not None:
            replaced.append(number)
    return given.take(new), replaced


def compact(
    stored: Stored,
    *,
    retrain: bool | None = None,
    keep_tokens: bool = True,
    on_progress: OnProgress = None,
) -> Stored:
    """The index with live ids only, numbered 0, 1, ..., in the order that they had.

    Where retrain is None, an index that lost accuracy, or of which more than `_MUCH` changed since it was built, is
    learned again from its tokens, with new codes; others keep codes and weights.

    Raises UsageError where it has to be learned again and the tokens were dropped, or nothing is left.
    """
    live = stored.trie.live_ids()
    if not len(live):
        raise UsageError("every image was removed; make a new index with: vitdsi index IMAGES -o INDEX.dsi")
    if retrain is None:
        retrain = stored.inputs is not None and _deserves_training(stored)
    if retrain and stored.inputs is None:
        raise UsageError("the tokens were dropped, so nothing can be learned again; index the images anew")
    kept = live.tolist()
    inputs = None if stored.inputs is None else stored.inputs[live]
    small = replace(
        stored,
        image_ids=[stored.image_ids[i] for i in kept],
        labels=None if stored.labels is None else [stored.labels[i] for i in kept],
        hashes=[stored.hashes[i] for i in kept],
        inputs=inputs if keep_tokens else None,
        thumbnails=stored.thumbnails[live] if keep_tokens and stored.thumbnails is not None else None,
        metadata=stored.metadata.renumbered({old: new for new, old in enumerate(kept)}),
        changes=[*stored.changes, _change("compact", len(kept))],
    )
    if retrain:
        assert inputs is not None
        return _learn_again(small, inputs, on_progress)
    trie = Trie(_trimmed(stored.trie.codes[live], stored.trie.vocabulary.pad), stored.trie.vocabulary.base)
    model, _ = graft(stored.model, stored.trie.nodes[live], trie, stored.config.seed)
    return replace(small, trie=trie, model=model)


def _deserves_training(stored: Stored) -> bool:
    changed = sum(change["images"] for change in stored.changes if change["verb"] != "compact")
    if changed > _MUCH * len(stored.trie.live_ids()):
        return True
    accuracy = own_rank_one(stored)
    return accuracy is not None and accuracy < stored.config.training.target_accuracy


def _learn_again(small: Stored, inputs: Tensor, on_progress: OnProgress) -> Stored:
    """A build from the tokens, without the images."""
    config = small.config
    collection = Collection(small.image_ids, small.labels, [], inputs, torch.empty(0), small.hashes, [])
    trie = build_trie(config, collection)
    model = build_model(config, trie, inputs)
    alterations = imagine_alterations(config, inputs, small.differences.float(), torch.arange(len(inputs)))
    data = training_data(config, trie, collection, None, alterations)
    train(model, data, config.training, seed=config.seed, on_progress=on_progress)
    built = replace(small, trie=trie, model=model.eval(), changes=[_change("build", len(inputs))])
    accuracy = round(own_rank_one(built) or 0.0, 4)
    report = {"images": len(inputs), "IA@1": accuracy, **calibrate(built, alterations.inputs)}
    return replace(built, report={**small.report, **report})


def _learn(
    grown: Stored,
    fresh: Collection,
    new_ids: Tensor,
    old: Tensor,
    relevance: Relevance | None,
    loader: InputLoader,
    on_progress: OnProgress,
) -> None:
    """The short run: new images, and old ones in replay; or where their inputs were dropped, what the model said of
    the new images before (`relevance`, as in learning without forgetting, Li and Hoiem 2016) and a penalty on weights
    that move.

    Where ids follow the features, the digits that only new images use are learned, and nothing else if that will do.
    """
    config, first = grown.config, int(new_ids[0])
    kept = grown.inputs is not None
    inputs, start = (fresh.inputs, first) if grown.inputs is None else (grown.inputs, 0)
    if len(grown.differences):
        alterations = imagine_alterations(config, inputs, grown.differences.float(), new_ids, start)
    else:
        alterations = measure_alterations(config, fresh, loader, on_progress)
        alterations = replace(alterations, rows=alterations.rows + first)
    generator = torch.Generator().manual_seed(config.seed + first)
    old = old[torch.randperm(len(old), generator=generator)]

    def learn(replayed: int) -> None:
        some = old[: replayed if kept else 0].sort().values
        rows = torch.cat([some, new_ids.repeat(max(1, round(len(some) / len(new_ids))))])
        data = TrainingData(
            grown.trie,
            rows,
            views_of(config, inputs, alterations, start),
            relevance or _relevance(grown, torch.unique(rows)),
            rows,
            alterations.inputs,
            alterations.rows,
        )
        short = config.training.batch_size * _LEAST_STEPS / len(rows)
        training = replace(config.training, **_SHORT, max_epochs=max(_EPOCHS, short))
        penalty = None if kept else _anchored(grown.model)
        train(grown.model, data, training, seed=config.seed + first, on_progress=on_progress, penalty=penalty)

    if _follows_features(grown):
        with _only_new(grown, new_ids):
            learn(_REPLAY * len(new_ids))
        found = rankings(grown, fresh.inputs, 1)[:, 0] == new_ids.numpy()
        if found.mean() >= _ENOUGH:
            return
    learn(max(_REPLAY * len(new_ids), _LEAST_REPLAY))


def _anchored(model: Seq2Seq) -> Callable[[], Tensor]:
    """A penalty on moving weights, by the square of the distance."""
    before = {name: value.detach().clone() for name, value in model.named_parameters()}

    def penalty() -> Tensor:
        moved = [
            (value - before[name]).square().sum()
            for name, value in model.named_parameters()
            if value.requires_grad
        ]
        return _STIFFNESS * torch.stack(moved).sum()

    return penalty


def _predicted(stored: Stored, inputs: Tensor) -> Relevance | None:
    """The model's own results for new images (n, *input_shape), as relevance of the rows N, N + 1, ...; None where
    nothing can be found."""
    found = [search_inputs(stored, part, _REMEMBERED, rerank=False) for part in torch.split(inputs, 64)]
    ids, scores = (torch.from_numpy(np.concatenate(part)) for part in zip(*found, strict=True))
    return WeightedRelevance(ids, scores, len(stored.image_ids)) if ids.shape[1] else None


_SHORT: dict[str, Any] = {
    "schedule": "joint",
    "minutes": None,
    "warmup_steps": 1,
    "evaluate_every": 10,
    "patience": 2,
    "weight_decay": 0.0,
}


def _codes(stored: Stored, fresh: Collection, inputs: Tensor, summaries: Tensor) -> Codes:
    """Codes (N + n, L) of all: where the model would look for the new images, else where the scheme puts them."""
    trie, pad, base = stored.trie, stored.trie.vocabulary.pad, stored.trie.vocabulary.base
    codes = trie.codes.numpy()
    new: Codes = np.full((len(inputs), trie.max_length), pad, dtype=np.int64)
    if _follows_features(stored):
        length = length_for(codes, codes[:, 0] != pad, base, len(inputs))
        new = place(stored.model, trie, inputs, summaries, length)
    left = np.flatnonzero(new[:, 0] == pad)
    codes = _stack(codes, new, pad)
    if not len(left):
        return codes
    vectors, new_vectors = _vectors(stored, summaries, fresh.inputs)
    labels = None if stored.labels is None else [*stored.labels, *(fresh.labels or [])]
    more = grow(
        stored.config.ids.scheme,
        codes,
        codes[:, 0] != pad,
        len(left),
        base,
        seed=stored.config.seed + len(trie.codes),
        features=None if vectors is None else np.concatenate([vectors, new_vectors]),
        new_features=None if vectors is None else new_vectors[left],
        labels=labels,
        new_labels=None if fresh.labels is None else [fresh.labels[i] for i in left],
    )
    codes = _stack(codes, more, pad)
    codes[len(trie.codes) + left] = codes[len(codes) - len(left) :]
    return codes[: len(trie.codes) + len(inputs)]


def _follows_features(stored: Stored) -> bool:
    return isinstance(stored.model.head, TrieHead) and stored.config.ids.scheme in ("semantic", "residual")


@contextlib.contextmanager
def _only_new(grown: Stored, new_ids: Tensor) -> Iterator[None]:
    """Nothing learns but the digits that only new images use."""
    model, trie = grown.model, grown.trie
    assert isinstance(model.head, TrieHead)
    old = torch.ones(len(trie.codes), dtype=torch.bool)
    old[new_ids] = False
    mask = (trie.child != NONE).float()
    at = trie.nodes[old] != NONE
    mask[trie.nodes[old][at], trie.codes[old][at]] = 0.0
    mask = mask.to(model.head.bias.device)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.head.rows.requires_grad_(True)
    model.head.bias.requires_grad_(True)
    hooks = [
        model.head.rows.register_hook(lambda gradient: gradient * mask[..., None]),  # type: ignore[no-untyped-call]
        model.head.bias.register_hook(lambda gradient: gradient * mask),  # type: ignore[no-untyped-call]
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for parameter in model.parameters():
            parameter.requires_grad_(True)


def _relevance(grown: Stored, rows: Tensor) -> Relevance:
    """As in a build; the table of neighbours is filled for `rows` only."""
    training = grown.config.training
    if grown.labels is not None and grown.config.labels == "folder":
        known = {label: i for i, label in enumerate(sorted(set(grown.labels)))}
        groups = torch.tensor([known[label] for label in grown.labels])
        return GroupRelevance(grown.trie, groups, groups)
    count = len(grown.image_ids)
    live = grown.trie.live_ids()
    if grown.config.model.stem == "pixels" or grown.inputs is None or len(live) == 1:
        return WeightedRelevance(torch.arange(count)[:, None], torch.ones(count, 1))
    vectors = summary(grown.inputs)
    k = neighbours_among(len(live), training.neighbours) + 1
    found, cosines = nearest(vectors[rows], vectors[live], k, exclude_own=False)
    found = live[found]
    cosines = cosines.masked_fill(found == rows[:, None], -torch.inf)
    ids = torch.full((count, found.shape[1] + 1), NONE)
    weights = torch.zeros(ids.shape)
    ids[rows, 0], ids[rows, 1:] = rows, found
    weights[rows] = teacher_weights(cosines, training.temperature, training.own_mass)
    return WeightedRelevance(ids, weights)


def _vectors(stored: Stored, summaries: Tensor, inputs: Tensor) -> tuple[Any, Any]:
    """Features (N, F) of the old images and (n, F) of the new, for the id scheme; None where there are none."""
    if stored.config.model.stem == "pixels":
        return None, None
    if stored.inputs is not None:
        return summary(stored.inputs).numpy(), summary(inputs).numpy()
    head = stored.model.head
    if not isinstance(head, TrieHead):
        return None, None
    trie = stored.trie
    live = trie.live_ids()
    vectors = torch.zeros(len(trie.codes), summaries.shape[1])
    vectors[live] = head.rows[trie.last_edges(live)].detach()
    return vectors.numpy(), summaries.numpy()


@torch.inference_mode()
def _summaries(model: Seq2Seq, inputs: Tensor) -> Tensor:
    device = next(model.parameters()).device
    return torch.cat([model.encode(part.to(device))[1].cpu() for part in torch.split(inputs, 256)])


def _stack(old: Codes, new: Codes, pad: int) -> Codes:
    length = max(old.shape[1], new.shape[1])
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, length - part.shape[1])), constant_values=pad) for part in (old, new)]
    )


def _trimmed(codes: Tensor, pad: int) -> Codes:
    """Without columns that only longer ids used, which are gone."""
    used = torch.nonzero((codes != pad).any(0)).max() + 1
    return codes[:, : int(used)].numpy()


def _change(verb: str, count: int) -> dict[str, Any]:
    return {"verb": verb, "images": count, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
