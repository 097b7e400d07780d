"""Model inputs to ranked ids: how wide the beam is, and how many inputs go at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.beam import beam_search
from vitdsi.build import ready
from vitdsi.errors import UsageError
from vitdsi.model.head import TrieHead
from vitdsi.storage import Stored
from vitdsi.trie import Trie

_LEAST = 12
_BEAMS_AT_ONCE = 20_000
_LIKENESS = 30.0  # nats that a cosine of 1 is worth when results are reranked (EXPERIMENTS.md)


@dataclass(frozen=True)
class SearchResult:
    """One found image. score: the model's probability of its id, so the scores of all ids sum to 1."""

    rank: int
    image_id: str
    score: float
    id: int


@torch.inference_mode()
def search_inputs(
    stored: Stored,
    inputs: Tensor,
    k: int,
    *,
    within: Trie | None = None,
    beam_size: int | None = None,
    rerank: bool = False,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Ids (B, min(k, n)) and probabilities for model inputs (B, *input_shape), best first; n ids can be found.

    `within` is a restriction of the index's trie, to search in it only; probabilities are then among its ids.
    `rerank` orders what the beam found by log-probability and by how much an image looks like the query.
    UsageError where beam_size < k or k < 1, or the model has no trie head to rerank with.
    """
    if k < 1:
        raise UsageError(f"k is {k}; it must be at least 1")
    if beam_size is not None and beam_size < k:
        raise UsageError(f"beam_size is {beam_size}; it must be at least k = {k}")
    if beam_size is None:
        beam_size = max(_LEAST, k + 2)
    device = next(stored.model.parameters()).device
    trie = stored.trie if within is None else within
    inputs = inputs.to(device).float()
    ids, log_probs = beam_search(stored.model, inputs, trie, beam_size)
    if rerank:
        order = torch.argsort(log_probs + _LIKENESS * _likeness(stored, inputs, ids), dim=1, descending=True)
        ids, log_probs = ids.gather(1, order), log_probs.gather(1, order)
    return ids[:, :k].cpu().numpy(), log_probs[:, :k].exp().cpu().numpy()


def _likeness(stored: Stored, inputs: Tensor, ids: Tensor) -> Tensor:
    """Cosines (B, K) of what the model sees in the inputs with the rows of the ids' last digits, which started from
    what it saw in the images themselves."""
    head = stored.model.head
    if not isinstance(head, TrieHead):
        raise UsageError("this index has no trie head to rerank with; build it with model.head=trie")
    rows = head.rows[stored.trie.last_edges(ids.clamp(min=0).cpu())]
    _, summary = stored.model.encode(inputs)
    return F.cosine_similarity(rows, summary[:, None], dim=-1)


def rankings(stored: Stored, inputs: Tensor, k: int, beam_size: int | None = None) -> npt.NDArray[np.int64]:
    """Ids (Q, min(k, n)) of stored inputs, in batches small enough for a beam of any size."""
    beam = max(beam_size or max(_LEAST, k + 2), k)
    batch = max(1, min(64, _BEAMS_AT_ONCE // beam))
    return np.concatenate(
        [search_inputs(stored, ready(part), k, beam_size=beam)[0] for part in torch.split(inputs, batch)]
    )


def own_rank_one(stored: Stored) -> float | None:
    """IA@1 of the images that can be found, None where their inputs are not kept."""
    live = stored.trie.live_ids()
    if stored.inputs is None or not len(live):
        return None
    return float((rankings(stored, stored.inputs[live], 1)[:, 0] == live.numpy()).mean())


def top_scores(stored: Stored, inputs: Tensor) -> npt.NDArray[np.float32]:
    """The probability (Q,) of the best result for each model input: how sure the model is to have seen the photo."""
    if not len(inputs):
        return np.empty(0, dtype=np.float32)
    return np.concatenate(
        [search_inputs(stored, ready(part), 1)[1][:, 0] for part in torch.split(inputs, 64)]
    )
