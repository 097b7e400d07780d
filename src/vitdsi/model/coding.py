"""Coding the rows of a trained model, so that an image takes a few bytes, and decoding them to train again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.heads import TrieHead
from vitdsi.model.heads.rows import learn_centres
from vitdsi.model.seq2seq import Seq2Seq


@torch.no_grad()
def with_row_bytes(model: Seq2Seq, trie: Trie, row_bytes: int | None, seed: int = 0) -> Seq2Seq:
    """Return the model with rows of `row_bytes` bytes each, or of floats (None).

    With bytes, all other weights are rounded as `packed` stores them; otherwise they are shared. Models
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
            name: value if row_bytes is None else _rounded(name, value)
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
        made.head.centres.values.copy_(learn_centres(vectors, row_bytes, seed).half())
    for table, vectors in ((made.head.leaves, leaves), (made.head.branches, branches)):
        table.put(torch.arange(len(vectors)), vectors)
    return made


@torch.no_grad()
def round_weights(model: Seq2Seq) -> None:
    """Round all weights of a model whose rows are codes to what an index stores; see `packed`."""
    for name, weight in model.state_dict().items():
        if weight.dtype == torch.float32:
            weight.copy_(_rounded(name, weight))


def packed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights as an index stores them: in fewer bits where that loses nothing.

    A matrix whose rows are whole multiples of a scale has these in a tensor of int8 beside its scales, of the name
    with `.scale` after it. Other weights are float16 if they can be.
    """
    made: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if weight.dtype == torch.float32:
            if _is_matrix(name, weight):
                steps, scale = _steps(weight)
                if torch.equal(steps * scale, weight):
                    made[name], made[name + _SCALE] = steps.to(torch.int8), scale.squeeze(1).half()
                    continue
            half = weight.half()
            made[name] = half if torch.equal(half.float(), weight) else weight
        else:
            made[name] = weight
    return made


def unpacked(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that `packed` made smaller."""
    made: dict[str, Tensor] = {}
    for name, weight in stored.items():
        if name + _SCALE in stored:
            made[name] = weight.float() * stored[name + _SCALE].float()[:, None]
        elif not name.endswith(_SCALE):
            made[name] = weight.float() if weight.dtype == torch.float16 else weight
    return made


def split_by_image(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Divide weights into those with a row for each id (N, ...) and all others."""
    of_images = {name: weight for name, weight in weights.items() if name.startswith(_OF_IMAGES)}
    return of_images, {name: weight for name, weight in weights.items() if name not in of_images}


def _rounded(name: str, weight: Tensor) -> Tensor:
    """Return a weight as `packed` can store it: a matrix in 255 steps for each row, all others as float16."""
    if _is_matrix(name, weight):
        steps, scale = _steps(weight)
        if bool((scale.isfinite() & ((scale > _SMALLEST_SCALE) | (weight == 0).all(1, keepdim=True))).all()):
            return steps * scale
    rounded = weight.half().to(weight.dtype)
    return rounded if bool(rounded.isfinite().all()) else weight


def _is_matrix(name: str, weight: Tensor) -> bool:
    return name.endswith(".weight") and weight.dim() == 2 and weight.dtype == torch.float32


def _steps(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return a matrix (R, C) as whole numbers from -127 to 127, and scales (R, 1), one a row, that float16 can hold."""
    scale = (matrix.abs().amax(1, keepdim=True) / 127).half().float()
    return torch.where(scale > 0, matrix / scale, 0.0).round().clamp(-127, 127), scale


_SCALE = ".scale"
_SMALLEST_SCALE = 1e-4  # float16 has fewer digits below
_OF_IMAGES = ("head.leaves.", "head.leaf_bias")
_TABLES = ("head.centres.", "head.leaves.", "head.branches.")
