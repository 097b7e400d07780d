from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers_codes import random_codes, small_model

from vitdsi.config import ModelConfig
from vitdsi.errors import ConfigError
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.training.targets import next_token_loss, one_hot_targets
from vitdsi.trie import NONE, Trie

SMALL = ModelConfig(
    image_size=32, patch_size=16, embed_dim=16, mlp_dim=24, num_heads=2, depth=1, decoder_depth=1,
    memory_tokens=3, head_dim=8,
)  # fmt: skip
# stem -> input_shape, tokens of the memory
STEMS = {"pixels": ((3, 32, 32), 4), "map": ((9, 20), 9), "pooled": ((12,), 3)}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def trie() -> Trie:
    return Trie(random_codes("mixed"), 3)


@pytest.mark.parametrize("head", ["trie", "digits"])
@pytest.mark.parametrize("stem", sorted(STEMS))
def test_shapes_of_every_stem(trie: Trie, stem: str, head: str) -> None:
    shape, tokens = STEMS[stem]
    model = Seq2Seq(replace(SMALL, stem=stem, head=head), trie, shape).eval()
    inputs = torch.rand(2, *shape)
    memory, summary = model.encode(inputs)
    assert memory.shape == (2, tokens, 16)
    assert summary.shape == (2, SMALL.embed_dim if head == "digits" and stem != "pooled" else SMALL.head_dim)
    torch.testing.assert_close(summary.norm(dim=1), torch.ones(2))
    scores = model(inputs, trie.codes[:2], trie.nodes[:2])
    assert scores.shape == (2, trie.max_length, trie.vocabulary.outputs)
    assert not torch.allclose(scores, model(inputs.flip(0), trie.codes[:2], trie.nodes[:2]))


@pytest.mark.parametrize("positions", ["learned", "sincos2d", "sincos1d"])
@pytest.mark.parametrize("stem", ["pixels", "map"])
def test_where_a_patch_stands_changes_the_scores(trie: Trie, stem: str, positions: str) -> None:
    shape, _ = STEMS[stem]
    torch.manual_seed(0)
    model = Seq2Seq(replace(SMALL, stem=stem, positions=positions), trie, shape).eval()
    inputs = torch.rand(1, *shape)
    moved = inputs.clone()
    if stem == "pixels":
        moved[..., :16, :16], moved[..., 16:, 16:] = inputs[..., 16:, 16:], inputs[..., :16, :16]
    else:
        moved[:, [0, 5]] = inputs[:, [5, 0]]
    with torch.no_grad():
        before, after = (model(x, trie.codes[:1], trie.nodes[:1]) for x in (inputs, moved))
        assert (before - after).abs().max() > 1e-5
        model.stem.positions.table.zero_()
        before, after = (model(x, trie.codes[:1], trie.nodes[:1]) for x in (inputs, moved))
    torch.testing.assert_close(before, after, atol=2e-5, rtol=1e-4)


def test_unknown_parts_are_refused(trie: Trie) -> None:
    with pytest.raises(ConfigError, match=r"'patches'; choose pooled, map or pixels"):
        Seq2Seq(replace(SMALL, stem="patches"), trie, (12,))
    with pytest.raises(ConfigError, match=r"'flat'; choose trie or digits"):
        Seq2Seq(replace(SMALL, head="flat"), trie, (12,))


@pytest.mark.parametrize("head", ["trie", "digits"])
def test_a_digit_is_scored_without_looking_at_it_or_later_ones(trie: Trie, head: str) -> None:
    model = small_model(trie, head)
    inputs = torch.randn(1, 12, dtype=torch.float64)
    codes, nodes = trie.codes[:1], trie.nodes[:1]
    with torch.no_grad():
        before = model(inputs, codes, nodes)
        for t in range(trie.max_length):
            changed = codes.clone()
            changed[:, t:] = (changed[:, t:] + 1) % 3
            torch.testing.assert_close(model(inputs, changed, nodes)[:, : t + 1], before[:, : t + 1])


@pytest.mark.parametrize("head", ["trie", "digits"])
def test_a_few_steps_of_training_learn_the_ids(head: str) -> None:
    trie = Trie(random_codes("mixed", count=8), 3)
    torch.manual_seed(0)
    model = Seq2Seq(replace(SMALL, head=head), trie, (12,))
    inputs, ids = torch.randn(8, 12), torch.arange(8)
    target, allowed = one_hot_targets(trie, ids), trie.child[trie.nodes.clamp(min=0)] != NONE
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        loss = next_token_loss(model(inputs, trie.codes, trie.nodes), target, allowed).mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < losses[0]


def test_what_is_saved_is_the_whole_model(trie: Trie) -> None:
    first, other = small_model(trie, seed=0), small_model(trie, seed=1)
    inputs = torch.randn(2, 12, dtype=torch.float64)
    with torch.no_grad():
        expected = first(inputs, trie.codes[:2], trie.nodes[:2])
        assert not torch.allclose(other(inputs, trie.codes[:2], trie.nodes[:2]), expected)
        other.load_state_dict(first.state_dict())
        assert torch.equal(other(inputs, trie.codes[:2], trie.nodes[:2]), expected)
