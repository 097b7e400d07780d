from __future__ import annotations

import torch
from helpers_codes import random_codes, small_model

from vitdsi.ids.trie import Trie
from vitdsi.model.coding import packed, unpacked, with_row_bytes
from vitdsi.model.heads.rows import CodedRows, FloatRows


def test_coded_model_of_few_images_scores_as_before_and_is_decoded_to_the_same() -> None:
    trie = Trie(random_codes("mixed"), 3)
    model = small_model(trie).float()
    features = torch.randn(23, 12)
    coded = with_row_bytes(model, trie, 2)
    decoded = with_row_bytes(coded, trie, None)
    assert coded.row_bytes == 2 and decoded.row_bytes is None
    assert isinstance(coded.head.leaves, CodedRows) and isinstance(decoded.head.leaves, FloatRows)
    with torch.no_grad():
        expected = model(features, trie.codes, trie.nodes)
        for other in (coded, decoded):
            found = other(features, trie.codes, trie.nodes)
            torch.testing.assert_close(found, expected, atol=0.05, rtol=0.01)  # centres are float16


def test_all_other_weights_are_stored_in_fewer_bits_without_a_loss() -> None:
    trie = Trie(random_codes("mixed"), 3)
    model = small_model(trie).float().eval()
    coded = with_row_bytes(with_row_bytes(model, trie, 2), trie, 4)
    assert coded.head.leaves.codes.shape == (23, 4) and not coded.training
    weights = coded.state_dict()
    stored = packed(weights)
    assert stored["stem.widen.weight"].dtype == torch.int8
    assert stored["stem.widen.bias"].dtype == torch.float16
    assert not any(value.dtype == torch.float32 for value in stored.values())
    again = unpacked(stored)
    assert again.keys() == weights.keys()
    for name, value in weights.items():
        assert torch.equal(again[name], value) and again[name].dtype == value.dtype, name
    for name, value in model.state_dict().items():
        if name in weights and value.is_floating_point():
            torch.testing.assert_close(weights[name], value, atol=float(value.abs().max()) / 200, rtol=0)
    assert with_row_bytes(coded, trie, 4) is coded


def test_floats_that_fewer_bits_would_change_are_stored_as_they_are() -> None:
    weights = {
        "a.weight": torch.randn(3, 5),
        "zero.weight": torch.zeros(2, 4),
        "bias": torch.tensor([1e6, 1.0]),
    }
    stored = packed(weights)
    assert stored["a.weight"].dtype == stored["bias"].dtype == torch.float32
    assert stored["zero.weight"].dtype == torch.int8
    assert all(torch.equal(value, weights[name]) for name, value in unpacked(stored).items())


def test_model_without_rows_stays_as_it_is() -> None:
    trie = Trie(random_codes("mixed"), 3)
    model = small_model(trie, "digits")
    assert with_row_bytes(model, trie, 2) is model
