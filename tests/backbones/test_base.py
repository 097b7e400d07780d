from __future__ import annotations

import torch

from vitdsi.backbones.base import weights_hash


def test_weights_hash_depends_on_names_types_shapes_and_values() -> None:
    weight = torch.arange(6.0).view(2, 3)
    states = [
        {"a": weight},
        {"b": weight},
        {"a": weight.half()},
        {"a": weight.view(3, 2)},
        {"a": weight + torch.tensor([0, 0, 1e-6])},
        {"a": weight, "b": weight},
    ]
    assert len({weights_hash(state) for state in states}) == len(states)
    assert len(weights_hash(states[0])) == 16


def test_weights_hash_does_not_depend_on_order_or_memory_layout() -> None:
    weight, scale = torch.arange(6.0).view(2, 3), torch.tensor(3)
    strided = weight.T.contiguous().T
    assert not strided.is_contiguous()
    assert weights_hash({"a": weight, "b": scale}) == weights_hash({"b": scale, "a": strided})
