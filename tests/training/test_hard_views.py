from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_backbones import ToyBackbone
from helpers_engine import EngineHere
from helpers_images import photo

from vitdsi.backbones.reader import FeatureReader
from vitdsi.errors import ImageReadError
from vitdsi.photos.decode import content_hash
from vitdsi.training.hard_views import read_hard_views


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    made = []
    for seed in range(6):
        made.append(tmp_path / f"{seed}.png")
        photo(48, 40, seed=seed).save(made[-1])
    return made


def read(paths: list[Path], cache: Path | None, count: int = 3, seed: int = 0) -> torch.Tensor:
    reader = FeatureReader("pooled", backbone="toy", cache=cache)
    return read_hard_views(paths, [content_hash(path) for path in paths], reader, count, seed)


def test_views_differ_by_photo_view_and_seed_and_repeat_otherwise(
    toy: type[ToyBackbone], paths: list[Path]
) -> None:
    views = read(paths, None)
    assert views.shape == (6, 3, 3)
    assert len(torch.unique(views.flatten(0, 1), dim=0)) == 18
    assert torch.equal(views, read(paths, None))
    assert not torch.equal(views, read(paths, None, seed=1))


def test_a_second_build_reads_no_view_again(
    toy: type[ToyBackbone], paths: list[Path], tmp_path: Path
) -> None:
    first = read(paths, tmp_path / "cache")
    assert ToyBackbone.seen == 18
    assert torch.equal(read(paths, tmp_path / "cache"), first)
    assert ToyBackbone.seen == 18
    more = read(paths, tmp_path / "cache", count=4)
    assert torch.equal(more[:, :3], first)
    assert ToyBackbone.seen == 24
    reordered = read(paths[::-1], tmp_path / "cache")
    assert torch.equal(reordered.flip(0), first)
    assert ToyBackbone.seen == 24


def test_a_photo_that_left_changes_few_views_of_the_others(
    toy: type[ToyBackbone], paths: list[Path], tmp_path: Path
) -> None:
    read(paths, tmp_path / "cache")
    read(paths[1:], tmp_path / "cache")
    assert ToyBackbone.seen < 18 + 15  # only the views in front of the photo that left


def test_photos_that_are_not_files_have_views_that_are_not_cached(
    toy: type[ToyBackbone], tmp_path: Path
) -> None:
    reader = FeatureReader("pooled", backbone="toy", cache=tmp_path / "cache")
    arrays = [np.asarray(photo(20, 20, seed=seed)) for seed in range(3)]
    views = read_hard_views(arrays, [""] * 3, reader, 2, 0)
    assert torch.equal(read_hard_views(arrays, [""] * 3, reader, 2, 0), views)
    assert ToyBackbone.seen == 12
    assert not (tmp_path / "cache").exists()


def test_one_photo_alone_has_a_plain_background(toy: type[ToyBackbone], paths: list[Path]) -> None:
    assert read(paths[:1], None).shape == (1, 3, 3)


def test_a_photo_that_vanished_is_named(toy: type[ToyBackbone], paths: list[Path]) -> None:
    reader = FeatureReader("pooled", backbone="toy")
    hashes = [content_hash(path) for path in paths]
    paths[2].unlink()
    with pytest.raises(ImageReadError, match=r"2\.png"):
        read_hard_views(paths, hashes, reader, 1, 0)


def test_several_processes_make_the_same_views_as_one(
    toy: type[ToyBackbone], paths: list[Path], tmp_path: Path
) -> None:
    alone = read(paths, None)
    hashes = [content_hash(path) for path in paths]
    reader = FeatureReader("pooled", backbone="toy", cache=tmp_path / "cache", engine=EngineHere())
    toy.seen = 0
    assert torch.equal(read_hard_views(paths, hashes, reader, 3, 0), alone)
    assert toy.seen == 18  # none is made twice


def test_a_photo_that_left_while_several_processes_read_is_an_error(
    toy: type[ToyBackbone], paths: list[Path], tmp_path: Path
) -> None:
    hashes = [content_hash(path) for path in paths]
    reader = FeatureReader("pooled", backbone="toy", cache=tmp_path / "cache", engine=EngineHere())
    paths[0].write_bytes(b"no image")
    with pytest.raises(ImageReadError, match=r"0\.png"):
        read_hard_views(paths, hashes, reader, 1, 0)
