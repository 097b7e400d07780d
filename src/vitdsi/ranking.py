"""Model inputs to ranked ids: how wide the beam is, and how many inputs go at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi.beam import decode
from vitdsi.build import ready
from vitdsi.errors import UsageError
from vitdsi.model.head import TrieHead
from vitdsi.model.patches import PooledTokens
from vitdsi.storage import Stored
from vitdsi.trie import Trie

_LEAST = 10  # beams, which lose nothing to an exhaustive search
_RERANKED = 24  # results that likeness has to choose from, at least
_BEAMS_AT_ONCE = 20_000
_PROBABILITY, _LIKENESS = 0.3, 15.0  # what a nat of log-probability and a cosine weigh (EXPERIMENTS.md)


@dataclass(frozen=True)
class SearchResult:
    """One found image. score: how probable it is among all images that can be found, by the model's probability of its
    id and, in an index without labels, by likeness too (`search_inputs`)."""

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
    rerank: bool | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Ids (B, min(k, n)) and scores for model inputs (B, *input_shape), best first; n ids can be found.

    `within` is a restriction of the index's trie, to search in it only. Scores are p, the model's probabilities of the
    ids, which sum to 1 over all n. With `rerank` what the beam found is ordered by likeness too, and its scores are

        softmax_i 0.3 log p_i + 15 cos_i,

    cos_i being the cosine of what the model sees in the query with the row of the id's last digit, which began as what
    it saw in the image. None reranks where likeness is what the model learned: from a backbone's features, without
    labels.
    UsageError where beam_size < k or k < 1, or the model has no trie head to rerank with.
    """
    if k < 1:
        raise UsageError(f"k is {k}; it must be at least 1")
    if beam_size is not None and beam_size < k:
        raise UsageError(f"beam_size is {beam_size}; it must be at least k = {k}")
    model, head = stored.model, stored.model.head
    if rerank is None:
        learned_likeness = stored.config.labels == "none" and isinstance(model.stem, PooledTokens)
        rerank = learned_likeness and isinstance(head, TrieHead)
    if rerank and not isinstance(head, TrieHead):
        raise UsageError("this index has no trie head to rerank with; build it with model.head=trie")
    if beam_size is None:
        beam_size = max(_LEAST, k)
    trie = stored.trie if within is None else within
    memory, summary = model.encode(inputs.to(next(model.parameters()).device).float())
    results = max(_RERANKED, beam_size) if rerank else None
    ids, log_scores = decode(model, memory, summary, trie, beam_size, results)
    if rerank:
        assert isinstance(head, TrieHead)
        rows = head.rows[stored.trie.last_edges(ids.clamp(min=0).cpu())]
        # a single image is its collection's mean, so its row is zero
        cosines = (rows @ summary[..., None]).squeeze(-1) / rows.norm(dim=-1).clamp(min=1e-12)
        log_scores = (_PROBABILITY * log_scores + _LIKENESS * cosines).log_softmax(1)
        log_scores, order = log_scores.sort(dim=1, descending=True)
        ids = ids.gather(1, order)
    return ids[:, :k].cpu().numpy(), log_scores[:, :k].exp().cpu().numpy()


def rankings(
    stored: Stored, inputs: Tensor, k: int, beam_size: int | None = None, *, rerank: bool | None = None
) -> npt.NDArray[np.int64]:
    """Ids (Q, min(k, n)) of stored inputs, in batches small enough for a beam of any size."""
    if beam_size is not None:
        beam_size = max(beam_size, k)
    batch = max(1, min(64, _BEAMS_AT_ONCE // (beam_size or k)))
    options: dict[str, Any] = {"beam_size": beam_size, "rerank": rerank}
    parts = torch.split(inputs, batch)
    return np.concatenate([search_inputs(stored, ready(part), k, **options)[0] for part in parts])


def own_rank_one(stored: Stored) -> float | None:
    """IA@1 of the images that can be found, None where their inputs are not kept."""
    live = stored.trie.live_ids()
    if stored.inputs is None or not len(live):
        return None
    return float((rankings(stored, stored.inputs[live], 1)[:, 0] == live.numpy()).mean())


def top_scores(stored: Stored, inputs: Tensor) -> npt.NDArray[np.float32]:
    """The score (Q,) of the best result for each model input: how sure the index is to hold the photo."""
    if not len(inputs):
        return np.empty(0, dtype=np.float32)
    return np.concatenate(
        [search_inputs(stored, ready(part), 1)[1][:, 0] for part in torch.split(inputs, 64)]
    )
