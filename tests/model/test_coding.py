from __future__ import annotations

import torch
from helpers_codes import random_codes, small_model

from vitdsi.ids.trie import Trie
from vitdsi.model.coding import with_row_bytes
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


def test_all_other_weights_are_rounded_to_half_precision_once() -> None:
    trie = Trie(random_codes("mixed"), 3)
    model = small_model(trie).float().eval()
    coded = with_row_bytes(with_row_bytes(model, trie, 2), trie, 4)
    assert coded.head.leaves.codes.shape == (23, 4) and not coded.training
    tables = ("head.leaves.", "head.branches.")
    shared = {name for name in model.state_dict() if not name.startswith(tables)}
    for name in shared:
        assert torch.equal(coded.state_dict()[name], model.state_dict()[name].half().float()), name
    assert with_row_bytes(coded, trie, 4) is coded


def test_model_without_rows_stays_as_it_is() -> None:
    trie = Trie(random_codes("mixed"), 3)
    model = small_model(trie, "digits")
    assert with_row_bytes(model, trie, 2) is model
