from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_backbones import ToyBackbone
from helpers_images import photo

from vitdsi.backbones.reader import FeatureReader
from vitdsi.config import IndexConfig, load_config
from vitdsi.training.alterations import Alterations, imagine_alterations, measure_alterations, views_of
from vitdsi.training.views import FeatureViews, PixelViews


def images(count: int) -> list[np.ndarray]:
    return [np.asarray(photo(24, 16, seed)) for seed in range(count)]


def measured(count: int, *overrides: str, seed: int = 0) -> tuple[Alterations, torch.Tensor]:
    """Alterations of `count` photos by the toy backbone, and the stored features of the photos."""
    config = load_config(overrides=["model.backbone=toy", f"seed={seed}", *overrides])
    reader = FeatureReader("pooled", backbone="toy")
    features = reader.load(images(count)).features
    return measure_alterations(config, images(count), features, reader), features


@pytest.mark.parametrize(
    ("count", "share", "copies"),
    [(10, 0.25, 10), (60, 0.25, 32), (200, 0.25, 50), (200, 1.0, 200), (600, 1.0, 512)],
)
def test_as_many_copies_are_measured_as_the_setting_asks_for_within_bounds(
    toy: type[ToyBackbone], count: int, share: float, copies: int
) -> None:
    alterations, _ = measured(count, f"training.augment_sample={share}")
    assert toy.seen == count + copies
    assert len(alterations.rows) == len(alterations.inputs) == copies // 4
    assert len(alterations.differences) == copies - copies // 4


@pytest.mark.usefixtures("toy")
def test_differences_are_what_alterations_change_and_held_out_copies_are_altered() -> None:
    alterations, features = measured(40)
    assert alterations.differences.shape[1:] == alterations.inputs.shape[1:] == features.shape[1:]
    assert 0.005 < alterations.differences.abs().mean() < 0.5
    originals = features[alterations.rows].float()
    moved = (alterations.inputs - originals).abs().amax(1)
    assert bool((moved > 1e-4).all()) and bool((moved < 0.6).all())
    assert sorted(set(alterations.rows.tolist())) == alterations.rows.tolist()


@pytest.mark.usefixtures("toy")
def test_same_seed_measures_the_same_alterations() -> None:
    (one, _), (same, _), (other, _) = (measured(40, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.rows, same.rows) and torch.equal(one.inputs, same.inputs)
    assert torch.equal(one.differences, same.differences)
    assert not torch.equal(one.differences, other.differences)


@pytest.mark.usefixtures("toy")
def test_photo_that_can_no_longer_be_read_is_left_out(tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.png" for seed in range(8)]
    for seed, path in enumerate(paths):
        photo(24, 16, seed).save(path)
    reader = FeatureReader("pooled", backbone="toy")
    features = reader.load(paths).features
    paths[0].unlink()
    alterations = measure_alterations(IndexConfig(), paths, features, reader)
    assert 0 not in alterations.rows
    assert len(alterations.rows) + len(alterations.differences) == 7


def test_pixels_have_no_differences_and_up_to_256_altered_copies() -> None:
    config = load_config(
        overrides=["model.stem=pixels", "model.paper.image_size=8", "training.augment_sample=1"]
    )
    reader = FeatureReader("pixels", 8)
    given = images(280)
    features = reader.load(given).features
    alterations = measure_alterations(config, given, features, reader)
    assert len(alterations.differences) == 0
    assert alterations.inputs.shape == (256, 3, 8, 8) and len(alterations.rows) == 256
    assert alterations.inputs.min() >= 0 and alterations.inputs.max() <= 1


def test_imagined_alterations_add_known_differences_to_the_given_rows() -> None:
    features = torch.rand(300, 4)
    differences = torch.full((3, 4), 0.5)
    rows = torch.arange(1000, 1300)
    alterations = imagine_alterations(IndexConfig(), features, differences, rows, rows)
    assert alterations.differences is differences
    assert len(set(alterations.rows.tolist())) == 256 and alterations.rows.min() >= 1000
    moved = alterations.inputs - features[alterations.rows - 1000]
    assert bool((moved >= 0).all()) and moved.max() <= 1.5 and moved.mean() > 0.1
    again = imagine_alterations(IndexConfig(), features, differences, rows, rows)
    assert torch.equal(again.rows, alterations.rows) and torch.equal(again.inputs, alterations.inputs)


@pytest.mark.parametrize(("dtype", "kind"), [(torch.float16, FeatureViews), (torch.uint8, PixelViews)])
def test_views_are_of_pixels_only_if_pixels_are_stored(
    dtype: torch.dtype, kind: type[FeatureViews | PixelViews]
) -> None:
    given = torch.randint(0, 256, (2, 3, 8, 8)).to(dtype)
    known = Alterations(torch.empty(0), torch.arange(0), given[:0])
    views = views_of(given, known, torch.arange(7, 7 + len(given)))
    assert isinstance(views, kind) and views.rows is not None and views.rows.tolist() == [7, 8]
