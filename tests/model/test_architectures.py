from __future__ import annotations

import pytest
import torch
from helpers_codes import model_config

from vitdsi.errors import ConfigError
from vitdsi.model.architectures import ARCHITECTURES, IdDecoder, architecture

CONFIG = model_config(embed_dim=16, num_heads=2, mlp_dim=24, depth=2, decoder_depth=2)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def decoder(name: str, max_length: int) -> IdDecoder:
    return architecture(name)(CONFIG, 13, max_length).eval()


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
@torch.no_grad()
def test_every_architecture_steps_as_it_is_teacher_forced(name: str) -> None:
    made = decoder(name, 5)
    tokens, image = torch.randint(0, 13, (3, 5)), torch.randn(3, 4, 16)
    forced, embedding = made.teacher_forced(tokens, image, lambda hidden: hidden.mean(1))
    memory, hidden = made.read(image)
    assert embedding is not None
    torch.testing.assert_close(embedding, hidden.mean(1))
    state = made.start(memory)
    for t in range(5):
        torch.testing.assert_close(made.step(tokens[:, t : t + 1], t, state)[:, 0], forced[:, t])


def test_unknown_architecture_is_refused() -> None:
    with pytest.raises(ConfigError, match="'other'; choose encoder_decoder or single_stack"):
        architecture("other")


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
@pytest.mark.parametrize("length", [3, 5, 7])
@torch.no_grad()
def test_graft_keeps_the_positions_that_both_have_and_all_other_weights(name: str, length: int) -> None:
    old, new = decoder(name, 5), decoder(name, length)
    fresh = new.positions.clone()
    new.graft(old)
    shared = min(length, 5)
    assert torch.equal(new.positions[:shared], old.positions[:shared])
    assert torch.equal(new.positions[shared:], fresh[shared:])
    state = new.state_dict()
    for key, value in old.state_dict().items():
        assert key == "positions" or torch.equal(value, state[key]), key
