"""Coding the rows of a trained model, so that an image takes a few bytes, and decoding them to train again."""

from __future__ import annotations

import torch
from torch import Tensor

from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.heads import TrieHead
from vitdsi.model.heads.rows import learn_centres
from vitdsi.model.seq2seq import Seq2Seq


@torch.no_grad()
def with_row_bytes(model: Seq2Seq, trie: Trie, row_bytes: int | None, seed: int = 0) -> Seq2Seq:
    """Return the model with rows of `row_bytes` bytes each, or of floats (None).

    With bytes, all other weights are rounded to float16, which the index then stores; otherwise they are shared. Models
    without a trie head have no rows, and are returned as they are.

    Raises:
        ConfigError: `row_bytes` does not divide the width of the rows.
    """
    head = model.head
    if not isinstance(head, TrieHead) or model.row_bytes == row_bytes:
        return model
    made = Seq2Seq(model.config, trie, model.input_shape, row_bytes)
    made.load_state_dict(
        {
            name: value if row_bytes is None else _rounded(value)
            for name, value in model.state_dict().items()
            if not name.startswith(_TABLES)
        },
        strict=False,
        assign=True,
    )
    made = made.to(head.log_scale.device).train(model.training)
    assert isinstance(made.head, TrieHead)
    count = len(head.leaf_bias)
    leaves = head.leaves.take(torch.arange(count, device=head.log_scale.device))
    branches = head.branches.take(torch.arange(head.branch_bias.numel(), device=head.log_scale.device))
    if row_bytes is not None:
        known = trie.nodes[:, 0] != NONE
        assert made.head.centres is not None
        vectors = torch.cat([leaves[known].cpu(), branches.cpu()])
        made.head.centres.values.copy_(learn_centres(vectors, row_bytes, seed))
    for table, vectors in ((made.head.leaves, leaves), (made.head.branches, branches)):
        table.put(torch.arange(len(vectors)), vectors)
    return made


def _rounded(weight: Tensor) -> Tensor:
    """Return a weight as float16 has it, in its own precision."""
    rounded = weight.half().to(weight.dtype)
    return rounded if bool(rounded.isfinite().all()) else weight


_TABLES = ("head.centres.", "head.leaves.", "head.branches.")
