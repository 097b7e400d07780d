from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers_stored import stored

from vitdsi.beam import beam_search
from vitdsi.config import ModelConfig
from vitdsi.ids import IdContext, assign
from vitdsi.living import _summaries
from vitdsi.model.head import TrieHead
from vitdsi.model.initialise import _centres, imprint, initialise
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.trie import NONE, Trie


def features_of(count: int, width: int) -> torch.Tensor:
    """Like a backbone's: not negative, some axes far wider than others."""
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, width, generator=generator).relu() * torch.linspace(2, 0.01, width)


def made(features: torch.Tensor, base: int = 16) -> tuple[Seq2Seq, Trie]:
    torch.manual_seed(0)
    trie = Trie(assign("semantic", IdContext(len(features), base, features=features.numpy())), base)
    model = Seq2Seq(ModelConfig(head_dim=32, prototypes=4), trie, (features.shape[1],)).eval()
    initialise(model, trie, features, seed=0)
    return model, trie


@pytest.mark.parametrize(("count", "width"), [(6, 1280), (40, 64), (300, 64)])
def test_projected_features_are_half_whitened_principal_axes(count: int, width: int) -> None:
    """As many images as axes or fewer, and copies among them, which once gave NaN."""
    features = features_of(count, width)
    features[-1] = features[0]
    model, _ = made(features)
    projection = model.stem.principal.weight.double()
    centred = (features.sqrt() - features.sqrt().mean(0)).double()
    spread = torch.linalg.svdvals(centred).square()[:32] / count
    spread = torch.where(spread > spread[0] * 1e-6, spread, 0.0)
    projected = centred @ projection.T
    found = projected.T @ projected / count
    expected = torch.zeros(32, dtype=torch.float64)
    expected[: len(spread)] = (spread * spread[0]).sqrt()
    torch.testing.assert_close(found, expected.diag(), atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_a_model_knows_its_images_before_it_is_trained() -> None:
    features = features_of(60, 64)
    model, trie = made(features)
    ids, _ = beam_search(model, features, trie, 60)
    assert np.mean(ids[:, 0].numpy() == np.arange(60)) > 0.9


def test_imprint_leaves_what_is_known() -> None:
    index = stored()
    assert index.inputs is not None and isinstance(index.model.head, TrieHead)
    ids = torch.tensor([4, 9])
    summaries = _summaries(index.model, index.inputs[ids].float())
    before = {name: value.clone() for name, value in index.model.state_dict().items()}
    try:
        known = torch.ones(index.trie.num_nodes, dtype=torch.bool)
        imprint(index.model, index.trie, ids, summaries, 0, known=known)
        last = (index.trie.nodes[ids] != NONE).sum(1, keepdim=True) - 1
        nodes, digits = index.trie.nodes[ids].gather(1, last), index.trie.codes[ids].gather(1, last)
        torch.testing.assert_close(index.model.head.rows.detach()[nodes, digits].squeeze(1), summaries)
        changed = (index.model.head.rows != before["head.rows"]).any(-1)
        assert int(changed.sum()) == 2
        biases = index.model.head.bias != before["head.bias"]
        assert not (biases & ~changed).any()
        assert torch.equal(index.model.head.prototypes, before["head.prototypes"])
    finally:
        index.model.load_state_dict(before)


@pytest.mark.parametrize("count", [2, 3, 9])
def test_centres(count: int) -> None:
    vectors = torch.tensor([[0.0, 0], [0, 0.1], [5, 5], [5, 5], [5, 5]])
    centres, sizes = _centres(vectors, count, seed=0)
    assert len(centres) == min(count, 3)  # three are different
    assert sizes.sum() == 5
    nearest_centre = torch.cdist(torch.tensor([[5.0, 5.0]]), centres).argmin()
    torch.testing.assert_close(centres[nearest_centre], torch.tensor([5.0, 5.0]))
    assert sizes[nearest_centre] == 3
