from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers_backbones import ToyBackbone
from helpers_images import photo
from helpers_ray import SlowViews, end_node, fail, three_nodes, wait_for_another_node
from helpers_training import data, model, settings, weights

from vitdsi.backbones import BACKBONES
from vitdsi.backbones.reader import FeatureReader
from vitdsi.engine.ray import RayEngine
from vitdsi.errors import UsageError
from vitdsi.training.loop import train
from vitdsi.training.together import train_with

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def _end_another(cluster: Any, folder: Path, ended: list[str]) -> threading.Thread:
    """End a node, in a thread, as soon as one of its processes is at work."""

    def run() -> None:
        node = wait_for_another_node(folder, cluster.head_node.node_id)
        end_node(cluster, node)
        ended.append(node)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_features_are_the_same_although_a_node_ends_in_the_middle(
    toy: type[ToyBackbone], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, folder = tmp_path / "at work", tmp_path / "photos"
    at_work.mkdir(), folder.mkdir()
    for seed in range(150):
        photo(24, 16, seed).save(folder / f"{seed}.png")
    paths = sorted(folder.iterdir())
    alone = FeatureReader("pooled", backbone="toy").load(paths)
    monkeypatch.setitem(BACKBONES, "slow", "helpers_ray:SlowBackbone")
    toy.seen, ended = 0, list[str]()
    with three_nodes(at_work) as cluster:
        engine = RayEngine()
        assert (engine.workers, engine.ranks, engine.cores) == (4, 3, 4)
        thread = _end_another(cluster, at_work, ended)
        reader = FeatureReader("pooled", backbone="slow", cache=tmp_path / "cache", engine=engine)
        shared = reader.load(paths)
        thread.join()
    assert len(ended) == 1
    assert toy.seen == 0  # in this process
    assert torch.equal(shared.features, alone.features)
    assert torch.equal(shared.thumbnails, alone.thumbnails)


def test_training_gives_the_same_model_although_a_node_ends_in_the_middle(tmp_path: Path) -> None:
    at_work = tmp_path / "at work"
    at_work.mkdir()
    alone, shared, ended = model(), model(), list[str]()
    history = train(alone, data(), settings(steps=30), seed=0).history
    views = SlowViews(data().views.features, data().views.differences)  # type: ignore[attr-defined]
    object.__setattr__(views, "folder", at_work)
    with three_nodes() as cluster:
        thread = _end_another(cluster, at_work, ended)
        schedule = train_with(
            RayEngine(),
            shared,
            replace(data(), views=views),
            settings(steps=30),
            seed=0,
            checkpoint=tmp_path / "run",
        )
        thread.join()
    assert len(ended) == 1
    for name, value in weights(alone).items():
        if not name.endswith("key_value.bias"):  # which has no effect and no gradient
            assert torch.allclose(weights(shared)[name], value, rtol=0, atol=1e-5), name
    for ours, theirs in zip(schedule.history, history, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_an_error_of_a_part_is_an_error_of_the_engine() -> None:
    with three_nodes(), pytest.raises(UsageError, match="the Ray cluster cannot go on"):
        list(RayEngine().run(fail, [1, 2]))


def test_a_cluster_that_does_not_exist_is_an_error() -> None:
    pytest.importorskip("ray", reason="needs the extra ray")
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:1: there is no Ray cluster"):
        RayEngine("127.0.0.1:1")
