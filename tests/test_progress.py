from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from helpers_backbones import ToyBackbone

from vitdsi import ImageIndex, load_config
from vitdsi.progress import Progress


def test_figures_that_are_not_measured_yet_are_none() -> None:
    progress = Progress("reading", 3)
    unknown = dataclasses.asdict(progress)
    assert (unknown.pop("phase"), unknown.pop("done")) == ("reading", 3)
    assert set(unknown.values()) == {None}


@pytest.mark.usefixtures("toy")
def test_build_reports_reading_then_views_then_training_each_up_to_its_total() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    reported: list[Progress] = []
    config = load_config(overrides=["model.backbone=toy", "training.max_epochs=20", "training.batch_size=16"])
    ImageIndex(config).fit(list(images), on_progress=reported.append)
    assert ToyBackbone.seen == 40 + 3 * 40 + 32  # the images, hard views, and altered copies of 32 of them
    assert list(dict.fromkeys(progress.phase for progress in reported)) == [
        "reading",
        "hard views",
        "views",
        "keypoints",
        "joint",
        "cooldown",
        "fine-tuning",
    ]
    for phase in ("reading", "views"):
        done = [progress.done for progress in reported if progress.phase == phase]
        assert done == sorted(done) and done[0] == 0
    steps = [progress for progress in reported if progress.phase in ("joint", "cooldown")]
    assert [progress.done for progress in steps] == sorted({progress.done for progress in steps})
    assert steps[-1].done == steps[-1].total
    assert reported[-1].done == reported[-1].total
    assert steps[-1].loss is not None and steps[-1].indexing_accuracy is not None
