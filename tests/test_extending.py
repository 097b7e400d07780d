"""The recipes of CONTRIBUTING.md: a new part takes one registry line, and an index is built and searched with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_backbones import ToyBackbone
from helpers_images import photo
from torch import Tensor, nn

from vitdsi import ImageIndex, load_config
from vitdsi.config import ModelConfig
from vitdsi.errors import ConfigError
from vitdsi.ids import SCHEMES, Growth, IdContext
from vitdsi.ids.free_numbers import FreeNumbers
from vitdsi.ids.number_scheme import Numbers, NumberScheme
from vitdsi.ids.trie import Trie
from vitdsi.model.heads import HEADS, Head
from vitdsi.model.stems import STEMS, Stem
from vitdsi.search.options import SearchOptions
from vitdsi.search.rank import rankings

SHORT = ["device=cpu", "model.backbone=toy", "training.max_epochs=200", "training.batch_size=32"]
COUNT = 14


class DescendingIds(NumberScheme):
    """The last image has number 0; new images get the smallest free numbers."""

    name = "descending"

    def numbers(self, context: IdContext) -> Numbers:
        return np.arange(context.count)[::-1]

    def new_numbers(self, growth: Growth, free: FreeNumbers) -> Numbers:
        ranges = [np.arange(low, high) for low, high in zip(free.low, free.high, strict=True)]
        return np.concatenate(ranges)[: growth.count]


class SquareHead(Head):
    """A digit is scored alike in every node, by the square of a linear map of the hidden state."""

    def __init__(self, config: ModelConfig, trie: Trie) -> None:
        super().__init__(config, trie)
        self.out = nn.Linear(config.embed_dim, trie.vocabulary.outputs)

    def forward(self, hidden: Tensor, embedding: Tensor | None, nodes: Tensor) -> Tensor:
        scores: Tensor = self.out(hidden).square()
        return scores


class ColourStem(Stem):
    """One token for each quarter of the photo, without positions."""

    reads = "map"

    def __init__(self, config: ModelConfig, input_shape: tuple[int, ...]) -> None:
        super().__init__(config, input_shape)
        self.project = nn.Linear(input_shape[1], config.embed_dim)

    def forward(self, features: Tensor) -> tuple[Tensor, None]:
        tokens: Tensor = self.project(features)
        return tokens, None


class BrightBackbone(ToyBackbone):
    """The toy backbone with features ten times as large."""

    name = "bright"
    weight = 10.0


@dataclass(frozen=True)
class Part:
    """A part of each kind: its registry, its name, what is registered, and the setting that chooses it."""

    registry: dict[str, Any]
    name: str
    part: Any
    setting: str


def _backbones() -> dict[str, Any]:
    from vitdsi.backbones import BACKBONES

    return BACKBONES


PARTS = {
    "scheme": Part(SCHEMES, "descending", DescendingIds(), "ids.scheme"),
    "head": Part(HEADS, "square", SquareHead, "model.paper.head"),
    "stem": Part(STEMS, "colours", ColourStem, "model.stem"),
    "backbone": Part(_backbones(), "bright", f"{__name__}:BrightBackbone", "model.backbone"),
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(COUNT):
        photo(24, 16, seed).save(folder / f"{seed:02}.png")
    return folder


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("kind", PARTS)
def test_registered_part_serves_an_index_from_fit_to_search(
    kind: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = PARTS[kind]
    config = load_config(overrides=[*SHORT, f"{given.setting}={given.name}"])
    with pytest.raises(ConfigError, match=f"^{given.setting} is '{given.name}'; choose "):
        ImageIndex(config).fit(photos)

    monkeypatch.setitem(given.registry, given.name, given.part)
    index = ImageIndex(config).fit(photos)
    assert index.features_ is not None
    first = rankings(index.state_, index.features_, SearchOptions(k=1, rerank=False))[:, 0]
    assert (first == np.arange(COUNT)).mean() >= 0.8
    found = index.search(photos / "03.png", k=COUNT, rerank=False)
    assert {result.image_id for result in found} == set(index.image_ids_)
    assert sum(math.exp(result.log_prob) for result in found) == pytest.approx(1, abs=1e-4)

    index.save(tmp_path / "a.dsi")
    loaded = ImageIndex.load(tmp_path / "a.dsi")
    assert loaded.search(photos / "03.png", k=COUNT, rerank=False) == found
    assert loaded.add([photo(24, 16, 50)]).image_ids == ["000000"]
    assert len(loaded.search(photo(24, 16, 50), k=100)) == COUNT + 1


@pytest.mark.usefixtures("toy")
def test_registered_scheme_gives_the_ids(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEMES, "descending", DescendingIds())
    index = ImageIndex(load_config(overrides=[*SHORT, "ids.scheme=descending", "ids.base=4"])).fit(photos)
    numbers = index.trie_.codes @ torch.tensor([4, 1])
    assert numbers.tolist() == list(range(COUNT))[::-1]


@pytest.mark.usefixtures("toy")
def test_registered_stem_and_backbone_make_the_model_s_input(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STEMS, "colours", ColourStem)
    monkeypatch.setitem(_backbones(), "bright", PARTS["backbone"].part)
    plain, bright = (
        ImageIndex(load_config(overrides=[*SHORT, "model.stem=colours", f"model.backbone={backbone}"])).fit(
            photos
        )
        for backbone in ("toy", "bright")
    )
    assert isinstance(plain.model_.stem, ColourStem) and plain.model_.input_shape == (4, 3)
    assert plain.features_ is not None and bright.features_ is not None
    torch.testing.assert_close(bright.features_.float(), 10 * plain.features_.float(), rtol=2e-3, atol=2e-3)
