"""Training data: views of the images, their relevant ids, and the rows that examples are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitdsi.config import IndexConfig
from vitdsi.ids.trie import Trie
from vitdsi.training.alterations import MAX_HELD_OUT, Alterations, views_of
from vitdsi.training.targets import Relevance
from vitdsi.training.views import Views


@dataclass(frozen=True)
class TrainingData:
    """The data of a training run.

    Attributes:
        trie: the ids. Row i of `views` is the image of id i.
        indexing_rows: the rows that indexing examples are drawn from. A row that occurs twice is drawn twice as often.
        views: model inputs by row: the indexed images, then further photos that train retrieval.
        relevance: the relevant ids by row.
        retrieval_rows: the rows that retrieval examples are drawn from.
        held_out_inputs: (H, *shape) inputs that are never trained on, for the held-out retrieval loss.
        held_out_rows: (H,) the rows of these inputs in `relevance`.
    """

    trie: Trie
    indexing_rows: Tensor
    views: Views
    relevance: Relevance
    retrieval_rows: Tensor
    held_out_inputs: Tensor
    held_out_rows: Tensor


def held_out_queries(seed: int, count: int, more: int) -> npt.NDArray[np.int64]:
    """Return the rows of further photos that are held out of training: a tenth of them, at most 256.

    Args:
        seed: the seed of the draw.
        count: the number of indexed images, N.
        more: the number of further photos, which are the rows N, N + 1, ...
    """
    rows: npt.NDArray[np.int64] = np.random.default_rng(seed).permutation(np.arange(count, count + more))
    return rows[: min(MAX_HELD_OUT, more // 10)]


def training_data(
    config: IndexConfig, trie: Trie, features: Tensor, relevance: Relevance, alterations: Alterations
) -> TrainingData:
    """Assemble the training data of a build.

    Args:
        features: (Q, *shape) stored features of the indexed images, and after them of further photos that train
            retrieval.
        relevance: the relevant ids of each of the Q rows.
        alterations: the measured effect of alterations on features. If there are further photos, a tenth of them, at
            most 256, is held out of training; otherwise the altered copies of `alterations` are.
    """
    count = int(trie.nodes.shape[0])
    more = len(features) - count
    held_out = held_out_queries(config.seed, count, more)
    views = views_of(features, alterations)
    # The retrieval phase of the paper trains with further photos only; a joint batch draws from all photos.
    only_more = config.labels == "folder" and more and config.training.paper.schedule == "sequential"
    rows = np.setdiff1d(np.arange(count if only_more else 0, len(features)), held_out)
    held_out_rows, held_out_inputs = alterations.rows, alterations.inputs
    if len(held_out):
        held_out_rows = torch.from_numpy(held_out)
        held_out_inputs = views.clean(held_out_rows)
    return TrainingData(
        trie, torch.arange(count), views, relevance, torch.from_numpy(rows), held_out_inputs, held_out_rows
    )
