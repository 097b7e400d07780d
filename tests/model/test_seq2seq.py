from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from helpers_codes import changed, model_config, random_codes, small_model

from vitdsi.errors import ConfigError
from vitdsi.ids.trie import NONE, Trie
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.training.targets import next_token_loss, one_hot_targets

SMALL = model_config(
    image_size=32, patch_size=16, embed_dim=16, mlp_dim=24, num_heads=2, depth=1, decoder_depth=1,
    embedding_dim=8,
)  # fmt: skip
# For each stem: the shape of its features, and how many tokens it makes of them.
STEMS = {"pixels": ((3, 32, 32), 4), "map": ((9, 20), 9), "pooled": ((12,), 4)}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def trie() -> Trie:
    return Trie(random_codes("mixed"), 3)


@pytest.mark.parametrize("head", ["trie", "digits"])
@pytest.mark.parametrize("stem", sorted(STEMS))
def test_every_stem_and_head_give_scores_of_every_token(trie: Trie, stem: str, head: str) -> None:
    shape, tokens = STEMS[stem]
    model = Seq2Seq(changed(SMALL, stem=stem, head=head), trie, shape).eval()
    inputs = torch.rand(2, *shape)
    memory, embedding = model.encode(inputs)
    assert [part.shape for layer in memory for part in layer] == [(2, 2, tokens, 8)] * 2  # B, H, S, D / H
    from_hidden = head == "digits" and stem != "pooled"
    assert embedding.shape == (2, SMALL.embed_dim if from_hidden else SMALL.embedding_dim)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))
    scores = model(inputs, trie.codes[:2], trie.nodes[:2])
    assert scores.shape == (2, trie.max_length, trie.vocabulary.outputs)
    assert not torch.allclose(scores, model(inputs.flip(0), trie.codes[:2], trie.nodes[:2]))


@pytest.mark.parametrize("positions", ["learned", "sincos2d", "sincos1d"])
@pytest.mark.parametrize("stem", ["pixels", "map"])
def test_scores_depend_on_where_a_patch_stands(trie: Trie, stem: str, positions: str) -> None:
    shape, _ = STEMS[stem]
    torch.manual_seed(0)
    model = Seq2Seq(changed(SMALL, stem=stem, positions=positions), trie, shape).eval()
    inputs = torch.rand(1, *shape)
    moved = inputs.clone()
    if stem == "pixels":
        moved[..., :16, :16], moved[..., 16:, 16:] = inputs[..., 16:, 16:], inputs[..., :16, :16]
    else:
        moved[:, [0, 5]] = inputs[:, [5, 0]]
    with torch.no_grad():
        before, after = (model(x, trie.codes[:1], trie.nodes[:1]) for x in (inputs, moved))
        assert (before - after)[before.isfinite()].abs().max() > 1e-5
        model.stem.positions.table.zero_()
        before, after = (model(x, trie.codes[:1], trie.nodes[:1]) for x in (inputs, moved))
    torch.testing.assert_close(before, after, atol=2e-5, rtol=1e-4)


def test_unknown_stem_or_head_is_refused(trie: Trie) -> None:
    with pytest.raises(ConfigError, match=r"'patches'; choose pooled, map or pixels"):
        Seq2Seq(changed(SMALL, stem="patches"), trie, (12,))
    with pytest.raises(ConfigError, match=r"'flat'; choose trie or digits"):
        Seq2Seq(changed(SMALL, head="flat"), trie, (12,))
    with pytest.raises(ConfigError, match=r"'other'; choose encoder_decoder or single_stack"):
        Seq2Seq(changed(SMALL, architecture="other"), trie, (12,))


def test_every_parameter_of_every_stem_gets_a_gradient(trie: Trie) -> None:
    for stem, (shape, _) in STEMS.items():
        model = Seq2Seq(changed(SMALL, stem=stem), trie, shape)
        scores = model(torch.rand(4, *shape), trie.codes[:4], trie.nodes[:4])
        scores.sum().backward()
        assert [name for name, value in model.named_parameters() if value.grad is None] == [], stem


@pytest.mark.parametrize("stem", ["map", "pooled"])
def test_half_precision_features_are_read_as_their_floats(trie: Trie, stem: str) -> None:
    shape, _ = STEMS[stem]
    model = Seq2Seq(changed(SMALL, stem=stem), trie, shape).eval()
    features = torch.rand(3, *shape).half()
    with torch.no_grad():
        assert torch.equal(model.encode(features)[1], model.encode(features.float())[1])
        scores = [model(x, trie.codes[:3], trie.nodes[:3]) for x in (features, features.float())]
    assert torch.equal(*scores)


def test_byte_pixels_are_read_as_values_between_0_and_1(trie: Trie) -> None:
    model = Seq2Seq(changed(SMALL, stem="pixels"), trie, (3, 32, 32)).eval()
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(model.encode(pixels)[1], model.encode(pixels.float() / 255)[1])
        scores = [model(x, trie.codes[:3], trie.nodes[:3]) for x in (pixels, pixels.float() / 255)]
    assert torch.equal(*scores)


def test_features_of_any_precision_are_read_in_that_of_the_weights(trie: Trie) -> None:
    features = torch.randn(2, 12, dtype=torch.float64)
    for model in (small_model(trie), small_model(trie).float()):
        dtype = model.decoder.positions.dtype
        with torch.no_grad():
            found = model(features, trie.codes[:2], trie.nodes[:2])
            assert found.dtype == dtype
            assert torch.equal(found, model(features.to(dtype), trie.codes[:2], trie.nodes[:2]))


def test_product_does_not_import_the_paper() -> None:
    code = (
        "import sys, torch, numpy as np; from vitdsi.config import ModelConfig; from vitdsi.ids.trie import Trie;"
        "from vitdsi.model.seq2seq import Seq2Seq; Seq2Seq(ModelConfig(), Trie(np.array([[0], [1]]), 4), (12,));"
        "print([name for name in sys.modules if name.startswith('vitdsi.paper')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("head", ["trie", "digits"])
def test_token_is_scored_without_reading_it_or_later_ones(trie: Trie, head: str) -> None:
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
def test_training_for_sixty_steps_learns_eight_ids(head: str) -> None:
    trie = Trie(random_codes("mixed", count=8), 3)
    torch.manual_seed(0)
    model = Seq2Seq(changed(SMALL, head=head), trie, (12,))
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


def test_loaded_state_gives_the_same_scores(trie: Trie) -> None:
    first, other = small_model(trie, seed=0), small_model(trie, seed=1)
    inputs = torch.randn(2, 12, dtype=torch.float64)
    with torch.no_grad():
        expected = first(inputs, trie.codes[:2], trie.nodes[:2])
        assert not torch.allclose(other(inputs, trie.codes[:2], trie.nodes[:2]), expected)
        other.load_state_dict(first.state_dict())
        assert torch.equal(other(inputs, trie.codes[:2], trie.nodes[:2]), expected)
