from __future__ import annotations

import pytest
import torch
from helpers_codes import log_prob, model_config, random_codes

from vitdsi.config import ModelConfig, load_config
from vitdsi.ids.trie import Trie
from vitdsi.model.architectures import architecture
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.paper.single_stack import SingleStack
from vitdsi.search.beam import beam_search
from vitdsi.training.targets import next_token_loss, one_hot_targets

CONFIG = model_config(
    architecture="single_stack", stem="pixels", image_size=32, patch_size=16, embed_dim=16, mlp_dim=24,
    num_heads=2, depth=3, head="digits",
)  # fmt: skip


@pytest.fixture
def trie() -> Trie:
    return Trie(random_codes("variable"), 3)


@pytest.fixture
def model(trie: Trie) -> Seq2Seq:
    """A random model in float64 without zero parameters, so that each one has an effect."""
    torch.manual_seed(0)
    made = Seq2Seq(CONFIG, trie, (3, 32, 32)).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.4)
    return made


def stack(model: Seq2Seq) -> SingleStack:
    assert isinstance(model.decoder, SingleStack)
    return model.decoder


@torch.no_grad()
def test_steps_with_a_cache_equal_one_forward(model: Seq2Seq, trie: Trie) -> None:
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    codes, nodes = trie.codes[:6].view(2, 3, -1), trie.nodes[:6].view(2, 3, -1)
    memory, embedding = model.encode(images)
    state = model.start(memory)
    tokens = torch.full((2, 3), trie.vocabulary.bos)
    steps = []
    for position in range(trie.max_length):
        steps.append(model.step(tokens, nodes[..., position], position, embedding, state))
        tokens = codes[..., position]
    for beam in range(3):
        full = model(images, codes[:, beam], nodes[:, beam])
        torch.testing.assert_close(torch.stack([step[:, beam] for step in steps], dim=1), full)


@torch.no_grad()
def test_forward_equals_one_pass_over_the_whole_masked_sequence(model: Seq2Seq, trie: Trie) -> None:
    layers = stack(model)
    patches, _ = model.stem(torch.rand(2, 3, 32, 32, dtype=torch.float64))
    tokens = trie.codes[:2]
    count, length = patches.shape[1], tokens.shape[1]
    x = torch.cat([patches, layers.embed(tokens) + layers.positions[:length]], dim=1)
    sees = torch.ones(count + length, count + length, dtype=torch.bool).tril()
    sees[:count, :count] = True
    for block in layers.blocks:
        x = block(x, mask=sees)
    torch.testing.assert_close(layers.read(patches)[1], layers.norm(x[:, :count]))
    torch.testing.assert_close(layers(tokens, patches), layers.norm(x))
    torch.testing.assert_close(layers(tokens, patches, digits_alone=True), layers.norm(x[:, count:]))
    hidden, embedding = layers.teacher_forced(tokens, patches, lambda image: image.mean(1))
    torch.testing.assert_close(hidden, layers.norm(x[:, count:]))
    torch.testing.assert_close(embedding, layers.norm(x[:, :count]).mean(1))
    hidden, embedding = layers.teacher_forced(tokens, patches, None)
    torch.testing.assert_close(hidden, layers.norm(x[:, count:]))
    assert embedding is None


@torch.no_grad()
def test_patches_do_not_attend_to_digits(model: Seq2Seq, trie: Trie) -> None:
    layers = stack(model)
    patches, _ = model.stem(torch.rand(1, 3, 32, 32, dtype=torch.float64))
    count = patches.shape[1]
    first, other = (layers(codes[None], patches) for codes in trie.codes[:2])
    assert torch.equal(first[:, :count], other[:, :count])
    assert not torch.allclose(first[:, count:], other[:, count:])


def with_trie_head(stem: str, depth: int) -> ModelConfig:
    return model_config(
        architecture="single_stack",
        stem=stem,
        embed_dim=16,
        mlp_dim=24,
        num_heads=2,
        depth=depth,
        embedding_dim=8,
    )


@torch.no_grad()
@pytest.mark.parametrize("stem, shape", [("map", (9, 20)), ("pooled", (12,))])
def test_teacher_forcing_and_search_agree_with_the_trie_head(
    trie: Trie, stem: str, shape: tuple[int, ...]
) -> None:
    config = with_trie_head(stem, depth=2)
    torch.manual_seed(0)
    model = Seq2Seq(config, trie, shape).double().eval()
    for parameter in model.parameters():
        parameter.normal_(0, 0.4)
    inputs = torch.rand(2, *shape, dtype=torch.float64)
    ids, found = beam_search(model, inputs, trie, len(trie.codes))
    torch.testing.assert_close(found, log_prob(model, trie, inputs).gather(1, ids).float())


@torch.no_grad()
def test_digits_attend_to_all_patches_and_to_the_digits_before_them(model: Seq2Seq, trie: Trie) -> None:
    image = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    codes, nodes = trie.codes[:1].clone(), trie.nodes[:1]
    scores = model(image, codes, nodes)
    changed = codes.clone()
    changed[0, 1] = (changed[0, 1] + 1) % 3
    other = model(image, changed, nodes)
    torch.testing.assert_close(other[:, :2], scores[:, :2], rtol=0, atol=0)
    assert not torch.allclose(other[:, 2:], scores[:, 2:])
    for corner in (image[..., :16, :16], image[..., 16:, 16:]):
        corner += 0.5
        moved = model(image, codes, nodes)
        assert (moved - scores).abs().amin(dim=2).gt(1e-9).all()
        corner -= 0.5


@torch.no_grad()
def test_beam_search_over_all_ids_is_exhaustive(model: Seq2Seq, trie: Trie) -> None:
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    ids, found = beam_search(model, images, trie, len(trie.codes))
    exact = log_prob(model, trie, images)
    torch.testing.assert_close(found, exact.gather(1, ids).float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(2))


def test_training_learns_the_ids_and_uses_every_parameter(trie: Trie) -> None:
    torch.manual_seed(0)
    model = Seq2Seq(CONFIG, trie, (3, 32, 32))
    images, ids = torch.rand(8, 3, 32, 32), torch.arange(8)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        scores = model(images, trie.codes[ids], trie.nodes[ids])
        loss = next_token_loss(scores, one_hot_targets(trie, ids), None).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 4
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("stem, shape", [("map", (9, 20)), ("pooled", (12,))])
def test_search_works_with_every_stem_and_the_trie_head(
    trie: Trie, stem: str, shape: tuple[int, ...]
) -> None:
    config = with_trie_head(stem, depth=1)
    model = Seq2Seq(config, trie, shape).eval()
    ids, _ = beam_search(model, torch.rand(2, *shape), trie, 4)
    assert ids.shape == (2, 4)


def test_architecture_is_chosen_by_name() -> None:
    config = load_config(overrides=["model.paper.architecture=single_stack"])
    assert architecture(config.model.paper.architecture) is SingleStack
