"""Calibration: how probable it is that a result is right, learned from views that were held out of training.

A result is right in the sense that the index was trained for: it shows the same picture as the query, or with classes
something of the same class. The score of a result is

    sigmoid(w . e + b),

where e is its evidence (see `vitdsi.search.evidence`), so it does not depend on k, on other queries, or on what else a
filter allows (Platt, "Probabilistic outputs for support vector machines", 1999, with three inputs). The weights are
fitted to the first results of held-out views, half of which are treated as photos from outside of the collection:
what is right for them is left out of their results.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.columns.labels import Labels
from vitdsi.errors import UsageError
from vitdsi.ids.trie import NONE
from vitdsi.search.evidence import LOWEST_LOG_PROB, probability
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import candidates
from vitdsi.state import Calibration, HeldOut, IndexState

Scores = npt.NDArray[np.floating[Any]]
Evidence = npt.NDArray[np.float64]

_RESULTS = 10  # of each held-out view
MIN_VIEWS = 8  # with fewer held-out views, the default weights are kept
_PRIOR = 1e-5  # strength of the pull towards the default weights
_SCALES = np.array([5.0, 0.2, 0.2])  # typical differences of the evidence
_BATCH = 64
_CHANGED_SHARE = 0.01
_EXCEEDED_BY = 0.01  # share of the pairs of different images; EXPERIMENTS.md has the evidence
_OF_FEW_IMAGES = 0.35  # the least threshold of pictures in small collections
_MAX_SHOWN, _MAX_ROWS = 500, 20_000  # images of which pairs are made


def calibrate(state: IndexState) -> IndexState:
    """Return the state with scores that are calibrated on its held-out views.

    Views of removed images are left out. The calibration stays as it is if fewer than 8 views are left, or if weights
    of the model are not numbers.
    """
    threshold = _different_pictures(state)
    if threshold != state.report.calibration.different_pictures:
        state = _with_calibration(state, different_pictures=threshold)
    views = _usable(state)
    if views is None:
        return state
    results = _results(state, views)
    inside = torch.cat([seen for _, seen in results]).double().numpy()
    right = np.concatenate([_right(state, views, view, ids) for view, (ids, _) in enumerate(results)])
    outside = inside[~right] if views.labels is None else _results_without_class(state, views)
    found = np.concatenate([inside, outside])
    if not len(found) or np.isnan(found).any():
        return state
    fitted = _fit(found, np.concatenate([right, np.zeros(len(outside))]))
    images = int(state.trie.live.sum())
    state = _with_calibration(state, weights=fitted.weights, bias=fitted.bias, images=images)
    best = np.array([float(_best_score(state, seen)) for _, seen in results])
    scores = tuple(round(float(score), 6) for score in best)
    return _with_calibration(state, inside_scores=scores, min_score=threshold_for(best))


def _with_calibration(state: IndexState, **changes: Any) -> IndexState:
    calibration = replace(state.report.calibration, **changes)
    return replace(state, report=replace(state.report, calibration=calibration))


def _different_pictures(state: IndexState) -> float:
    """Return a cosine of pictures that one in a hundred pairs of different images exceeds.

    Images that the embedding was learned from are less like each other than new photos are like them, the more so, the
    fewer there are. So it is at least 0.35 if there are no more images than numbers of a picture embedding; the more
    images there are, the less is added. It stays as it is where it cannot be measured: without features, or with a
    single image.
    """
    live, known = state.trie.live_ids(), state.report.calibration.different_pictures
    if state.features is None or len(live) < 2:
        return known
    generator = torch.Generator().manual_seed(0)
    some = live[torch.randperm(len(live), generator=generator)[:_MAX_ROWS]]
    vectors = state.picture_vectors(some)
    if vectors is None:
        return known
    rows = F.normalize(vectors, dim=1)
    shown = state.model.embeddings(state.features[some[:_MAX_SHOWN]])[:, : rows.shape[1]]
    cosines = F.normalize(shown, dim=1) @ rows.T
    others = ~torch.eye(*cosines.shape, dtype=torch.bool)
    found = float(torch.quantile(cosines[others], 1 - _EXCEEDED_BY))
    return round(found + max(0.0, _OF_FEW_IMAGES - found) * min(1.0, rows.shape[1] / len(live)) ** 2, 4)


def needs_calibration(state: IndexState) -> bool:
    """Return whether more than one in a hundred images came or went since the scores were calibrated."""
    before = state.report.calibration.images
    return abs(int(state.trie.live.sum()) - before) > _CHANGED_SHARE * before


def _usable(state: IndexState) -> HeldOut | None:
    """Return the held-out views for which the index has something that is right, or None if there are too few."""
    views = state.held_out
    if views is None:
        return None
    own = (views.ids != NONE) & state.trie.live[views.ids.clamp(min=0)]
    if views.labels is None or state.labels is None:
        usable = own
    else:
        numbers, number_of = _class_numbers(state.labels)
        sizes = np.bincount(numbers[state.trie.live.numpy()], minlength=len(number_of))
        others = [sizes[number_of[label]] if label in number_of else 0 for label in views.labels]
        itself = [
            bool(live) and state.labels[i] == label
            for live, i, label in zip(own, views.ids.tolist(), views.labels, strict=True)
        ]
        usable = torch.from_numpy(np.array(others) > np.array(itself))
    return views.take(torch.nonzero(usable).squeeze(1)) if usable.sum() >= MIN_VIEWS else None


def _class_numbers(labels: Labels) -> tuple[npt.NDArray[Any], dict[str, int]]:
    """Return the number of the class of each image (N,), and the number of each class by its name."""
    return labels.numbers, {name: number for number, name in enumerate(labels.classes)}


def _right(state: IndexState, views: HeldOut, view: int, ids: Tensor) -> npt.NDArray[np.bool_]:
    """Return which results (R,) of a view are right: those of its class but not its own image, or that image alone."""
    own: npt.NDArray[np.bool_] = (ids == views.ids[view]).numpy()
    if views.labels is None or state.labels is None:
        return own
    same = [state.labels[i] == views.labels[view] for i in ids.tolist()]
    right: npt.NDArray[np.bool_] = np.array(same, dtype=bool) & ~own
    return right


def _results(state: IndexState, views: HeldOut) -> list[tuple[Tensor, Tensor]]:
    """Return the ids (R,) of the results of each view that count, and their evidence (R, 3), most relevant first."""
    found = []
    for start in range(0, len(views.features), _BATCH):
        part = slice(start, start + _BATCH)
        result = candidates(state, views.features[part], SearchOptions(k=_RESULTS + 1))
        for own, ids, seen in zip(views.ids[part], result.ids.cpu(), result.evidence.cpu(), strict=True):
            # An altered copy says nothing about its class that the row of its own image does not know already.
            use = (ids != NONE) & ((ids != own) | (views.labels is None))
            found.append((ids[use], seen[use]))
    return found


def _results_without_class(state: IndexState, views: HeldOut) -> Evidence:
    """Return the evidence (R, 3) of the results of all views if nothing of their class were in the collection."""
    assert state.labels is not None and views.labels is not None
    numbers, number_of = _class_numbers(state.labels)
    live, outsiders = state.trie.live.numpy(), [np.empty((0, len(_SCALES)))]
    for label in sorted(set(views.labels)):
        others = np.flatnonzero(live & (numbers != number_of[label]))
        if not len(others):
            continue
        rows = torch.tensor([i for i, other in enumerate(views.labels) if other == label])
        for part in torch.split(views.features[rows], _BATCH):
            result = candidates(state, part, SearchOptions(k=_RESULTS), state.trie.restrict(others))
            outsiders.append(result.evidence[result.ids != NONE].cpu().double().numpy())
    return np.concatenate(outsiders)


def _best_score(state: IndexState, seen: Tensor) -> Tensor:
    """Return the best score among the first results with this evidence (R, 3), 0 if there are none."""
    scores = probability(state, seen[: _RESULTS + 1])
    return scores.amax() if len(scores) else scores.new_zeros(())


def _fit(found: Evidence, right: npt.NDArray[Any]) -> Calibration:
    """Fit the weights by maximum likelihood: none is negative, and all are pulled a little towards the defaults."""
    from scipy.optimize import minimize
    from scipy.special import expit

    clipped = np.maximum(found, [LOWEST_LOG_PROB, -1, -1]) / _SCALES
    inputs = np.concatenate([clipped, np.ones((len(clipped), 1))], axis=1)
    prior = np.array([*(np.array(Calibration().weights) * _SCALES), Calibration().bias])

    def loss(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        logits = inputs @ weights
        value = (
            np.logaddexp(0, logits).mean() - (right * logits).mean() + _PRIOR * ((weights - prior) ** 2).sum()
        )
        gradient = inputs.T @ (expit(logits) - right) / len(right) + 2 * _PRIOR * (weights - prior)
        return float(value), gradient

    bounds = [(0, None)] * len(_SCALES) + [(None, None)]
    weights = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=bounds).x
    return Calibration(tuple(float(w) for w in weights[:-1] / _SCALES), float(weights[-1]))


def threshold_for(inside_scores: Scores, keep: float = 0.95) -> float:
    """Return the highest threshold that at least the share `keep` of `inside_scores` (n,) reach.

    Raises:
        UsageError: no scores, a score that is not a number, or a `keep` that is not above 0 and at most 1.
    """
    if inside_scores.ndim != 1 or not len(inside_scores):
        raise UsageError(f"the scores have shape {inside_scores.shape}; give at least one, in one dimension")
    if np.isnan(inside_scores).any():
        raise UsageError(f"{np.isnan(inside_scores).sum()} of the scores are NaN; leave those queries out")
    if not 0 < keep <= 1:
        raise UsageError(f"keep is {keep}; it must be above 0 and at most 1")
    rank = math.ceil(keep * len(inside_scores) - 1e-9)  # 0.07 * 100 is a little more than 7
    return float(np.sort(inside_scores)[::-1][max(rank, 1) - 1])
