from __future__ import annotations

import pytest
import torch
from helpers_codes import model_config

from vitdsi.model.decoder import Decoder

CONFIG = model_config(embed_dim=16, num_heads=2, mlp_dim=24, decoder_depth=2)


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    decoder = Decoder(CONFIG, num_tokens=13, max_length=5).double().eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.normal_(0, 0.4)
    return decoder


def counted(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """A list that collects the shapes with which cross-attention's `keys_values` is called from now on."""
    calls: list[tuple[int, ...]] = []
    for block in decoder.blocks:
        attention, original = block.cross_attention, block.cross_attention.keys_values
        monkeypatch.setattr(
            attention, "keys_values", lambda x, f=original: calls.append(tuple(x.shape)) or f(x)
        )
    return calls


@torch.no_grad()
def test_decoding_step_by_step_equals_one_forward_pass(decoder: Decoder) -> None:
    tokens, image = torch.randint(0, 13, (3, 5)), torch.randn(3, 4, 16).double()
    forced = decoder(tokens, image)
    state = decoder.start(decoder.read(image)[0])
    for t in range(5):
        torch.testing.assert_close(decoder.step(tokens[:, t : t + 1], t, state)[:, 0], forced[:, t])


@torch.no_grad()
def test_beams_share_the_memory_and_keep_their_own_past(decoder: Decoder) -> None:
    image = torch.randn(2, 4, 16).double()
    paths = torch.randint(0, 13, (2, 3, 4))  # images, beams, digits
    state = decoder.start(decoder.read(image)[0])
    for t in range(4):
        hidden = decoder.step(paths[:, :, t], t, state)
    for beam in range(3):
        torch.testing.assert_close(hidden[:, beam], decoder(paths[:, beam], image)[:, -1])


@torch.no_grad()
def test_select_moves_drops_and_copies_the_past_of_beams(decoder: Decoder) -> None:
    image = torch.randn(2, 4, 16).double()
    paths = torch.randint(0, 13, (2, 3, 2))
    state = decoder.start(decoder.read(image)[0])
    for t in range(2):
        decoder.step(paths[:, :, t], t, state)
    beams = torch.tensor([[2, 0, 0, 1], [1, 1, 2, 0]])
    state.select(beams)
    last = torch.randint(0, 13, (2, 4))
    hidden = decoder.step(last, 2, state)
    for i in range(2):
        for k in range(4):
            written = torch.cat([paths[i, beams[i, k]], last[i, k : k + 1]])[None]
            torch.testing.assert_close(hidden[i, k], decoder(written, image[i : i + 1])[0, -1])


@torch.no_grad()
def test_select_before_the_first_step_is_allowed(decoder: Decoder) -> None:
    state = decoder.start(decoder.read(torch.randn(2, 4, 16).double())[0])
    state.select(torch.zeros(2, 1, dtype=torch.long))
    assert decoder.step(torch.zeros(2, 1, dtype=torch.long), 0, state).shape == (2, 1, 16)


@torch.no_grad()
def test_search_projects_each_memory_once(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(decoder, monkeypatch)
    state = decoder.start(decoder.read(torch.randn(3, 4, 16).double())[0])
    for t in range(5):
        decoder.step(torch.randint(0, 13, (3, 6)), t, state)
    assert calls == [(3, 4, 16)] * 2


@torch.no_grad()
def test_teacher_forcing_projects_each_memory_once(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(decoder, monkeypatch)
    decoder(torch.randint(0, 13, (3, 5)), torch.randn(3, 4, 16).double())
    assert calls == [(3, 4, 16)] * 2


@torch.no_grad()
def test_token_attends_to_the_image_and_the_past_but_not_to_the_future(decoder: Decoder) -> None:
    tokens, image = torch.tensor([[12, 1, 2, 3, 4]]), torch.randn(1, 4, 16).double()
    before = decoder(tokens, image)
    later = decoder(torch.tensor([[12, 1, 2, 9, 9]]), image)
    torch.testing.assert_close(before[:, :3], later[:, :3])
    assert not torch.allclose(before[:, 3], later[:, 3])
    assert not torch.allclose(before[:, 4], decoder(torch.tensor([[12, 7, 2, 3, 4]]), image)[:, 4])
    assert not torch.allclose(before, decoder(tokens, image + 1))
    assert not torch.allclose(decoder(torch.full((1, 5), 3), image).diff(dim=1), torch.zeros(()).double())


@torch.no_grad()
def test_teacher_forcing_embeds_the_output_of_the_encoder(decoder: Decoder) -> None:
    tokens, image = torch.randint(0, 13, (3, 5)), torch.randn(3, 4, 16).double()
    hidden, embedding = decoder.teacher_forced(tokens, image, lambda x: x.mean(1))
    assert torch.equal(hidden, decoder(tokens, image))
    assert embedding is not None and torch.equal(embedding, image.mean(1))
    assert torch.equal(decoder.read(image)[1], image)
    assert decoder.teacher_forced(tokens, image, None)[1] is None
