"""A model of random features that is trained in a moment; shared by the tests of training."""

from __future__ import annotations

from typing import Any

import torch
from helpers_codes import model_config, random_codes

from vitdsi.config import PaperTrainingConfig, TrainingConfig
from vitdsi.ids.trie import Trie
from vitdsi.model.initialise import initialise
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.training.data import TrainingData
from vitdsi.training.targets import OwnId
from vitdsi.training.views import FeatureViews

COUNT, WIDTH = 12, 10


def data() -> TrainingData:
    """Random features of 12 images; only an image itself is relevant to it, and 3 altered copies are held out."""
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(COUNT, WIDTH, generator=generator)
    differences = 0.05 * torch.randn(5, WIDTH, generator=generator)
    rows = torch.arange(COUNT)
    views = FeatureViews(features, differences)
    held_out = features[:3] + differences[:3]
    return TrainingData(Trie(random_codes("mixed", COUNT), 3), rows, views, OwnId(), rows, held_out, rows[:3])


def model(seed: int = 0, **settings: Any) -> Seq2Seq:
    """A small model that starts from the features of `data`."""
    given = data()
    torch.manual_seed(seed)
    config = model_config(
        **{"embed_dim": 16, "mlp_dim": 24, "num_heads": 2, "embedding_dim": 8, "prototypes": 2} | settings
    )
    made = Seq2Seq(config, given.trie, (WIDTH,))
    initialise(made, given.trie, given.views.clean(given.indexing_rows), seed)
    return made


def settings(*, steps: int = 20, **more: Any) -> TrainingConfig:
    """Settings of a run of so many steps at most, where half of each batch of 24 is indexing."""
    paper = {"warmup_steps": 2, "target_accuracy": 1.0} | more.pop("paper", {})
    given: dict[str, Any] = {"batch_size": 2 * COUNT, "max_epochs": steps, "evaluate_every": 5}
    return TrainingConfig(**given | more, paper=PaperTrainingConfig(**paper))


def weights(trained: Seq2Seq) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trained.state_dict().items()}


def assert_equal_weights(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
