from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from vitdsi import ImageIndex, IndexConfig
from vitdsi.config import load_config
from vitdsi.errors import ImageReadError, IndexFormatError, UsageError
from vitdsi.progress import Progress

SHORT = [
    "training.max_epochs=150",
    "training.paper.warmup_steps=5",
    "training.batch_size=32",
    "training.evaluate_every=10",
]


def paint(folder: Path, count: int = 24, seed: int = 0) -> Path:
    """Distinct coloured shapes in two class folders."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        image = Image.new("RGB", (80, 72), tuple(int(x) for x in rng.integers(0, 256, 3)))
        draw = ImageDraw.Draw(image)
        left, top = (int(x) for x in rng.integers(0, 40, 2))
        shape = draw.ellipse if i % 2 else draw.rectangle
        shape((left, top, left + 34, top + 30), fill=tuple(int(x) for x in rng.integers(0, 256, 3)))
        path = folder / ("round" if i % 2 else "square") / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def index(photos: Path) -> ImageIndex:
    return ImageIndex(load_config(overrides=SHORT)).fit(photos)


def test_every_image_finds_itself(index: ImageIndex, photos: Path) -> None:
    assert index.report_.indexing_accuracy == 1.0
    results = index.search_many([photos / name for name in index.image_ids_], k=3)
    assert [row[0].image_id for row in results] == index.image_ids_
    for row in results:
        assert [r.rank for r in row] == [1, 2, 3]
        assert len({r.id for r in row}) == 3
        assert all(index.image_ids_[r.id] == r.image_id for r in row)
        assert sum(r.score for r in row) <= 1 + 1e-5
        assert row[0].score >= row[1].score >= row[2].score


@pytest.mark.parametrize("k", [1, 24, 500])
def test_exactly_as_many_results_as_there_are(index: ImageIndex, photos: Path, k: int) -> None:
    found = index.search(photos / index.image_ids_[5], k)
    assert len(found) == min(k, 24)
    if k >= 24:
        assert sum(r.score for r in found) == pytest.approx(1, abs=1e-4)
        assert {r.image_id for r in found} == set(index.image_ids_)


def test_one_image_equals_many(index: ImageIndex, photos: Path) -> None:
    paths = [photos / name for name in index.image_ids_[:7]]
    alone = [index.search(path, 4) for path in paths]
    together = index.search_many(paths, 4, batch_size=3)
    assert [[r.id for r in row] for row in alone] == [[r.id for r in row] for row in together]


def test_save_and_load_answer_alike(index: ImageIndex, photos: Path, tmp_path: Path) -> None:
    index.save(tmp_path / "out.dsi")
    again = ImageIndex.load(tmp_path / "out.dsi")
    path = photos / index.image_ids_[3]
    assert again.search(path, 10) == index.search(path, 10)
    assert again.info() == index.info()
    index.save(tmp_path / "out.dsi")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.dsi"]


def test_an_interrupted_run_equals_an_uninterrupted_one(
    photos: Path, index: ImageIndex, tmp_path: Path
) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.phase == "joint" and progress.done == 10:
            raise KeyboardInterrupt

    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        ImageIndex(index.config).fit(photos, checkpoint=state, on_progress=interrupt)
    resumed = ImageIndex(index.config).fit(photos, checkpoint=state, resume=True)
    weights = index.model_.state_dict()
    for name, value in resumed.model_.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_other_images_do_not_resume(photos: Path, index: ImageIndex, tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.phase == "joint":
            raise KeyboardInterrupt

    state = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        ImageIndex(index.config).fit(photos, checkpoint=state, on_progress=interrupt)
    other = load_config(overrides=[*SHORT, "model.embed_dim=64"])
    with pytest.raises(UsageError, match="start without resume"):
        ImageIndex(other).fit(photos, checkpoint=state, resume=True)


@pytest.mark.parametrize("scheme", ["random", "clustered", "semantic"])
def test_labelled_images_and_extra_queries(photos: Path, tmp_path: Path, scheme: str) -> None:
    queries = paint(tmp_path / "queries", 20, seed=5)
    config = load_config(overrides=[*SHORT, "labels=folder", f"ids.scheme={scheme}"])
    labelled = ImageIndex(config).fit(photos, queries=queries)
    assert labelled.labels_ is not None and set(labelled.labels_) == {"round", "square"}
    metrics = labelled.evaluate(queries)
    assert set(metrics) == {"IA@1", "IA@5", "P@10", "MAP@10", "MAP", "Recall@100"}
    assert metrics["Recall@100"].value == 1.0
    assert metrics["P@10"].queries == 20
    assert metrics["P@10"].chance == pytest.approx(0.5)
    assert metrics["MAP"].value > metrics["MAP"].chance


def test_the_paper_sequence_of_phases(photos: Path) -> None:
    overrides = [
        *SHORT, "labels=folder", "model.stem=pixels", "model.paper.image_size=32", "model.paper.patch_size=8",
        "model.paper.dropout=0.1", "model.paper.head=digits", "ids.scheme=random", "ids.paper.variable_length=true",
        "training.paper.target=sampled", "training.paper.schedule=sequential", "training.paper.constrained=false",
        "training.paper.retrieval_epochs=40",
    ]  # fmt: skip
    phases: list[str] = []
    fitted = ImageIndex(load_config(overrides=overrides)).fit(
        photos, on_progress=lambda p: phases.append(p.phase)
    )
    order = list(dict.fromkeys(phase for phase in phases if phase in ("indexing", "retrieval")))
    assert order == ["indexing", "retrieval"]
    assert len(fitted.search(photos / fitted.image_ids_[0], 24)) == 24


@pytest.mark.parametrize("stem", ["map", "pixels"])
def test_other_stems_without_labels(photos: Path, stem: str, tmp_path: Path) -> None:
    overrides = [
        f"model.stem={stem}",
        "model.depth=1",
        "model.paper.image_size=32",
        "model.paper.patch_size=8",
    ]
    scheme = "semantic" if stem == "map" else "random"
    fitted = ImageIndex(load_config(overrides=[*SHORT, *overrides, f"ids.scheme={scheme}"])).fit(photos)
    fitted.save(tmp_path / "out.dsi")
    found = ImageIndex.load(tmp_path / "out.dsi").search(photos / fitted.image_ids_[4], 24)
    assert {r.image_id for r in found} == set(fitted.image_ids_)


def test_arrays_and_repeated_images(photos: Path) -> None:
    arrays = [np.asarray(Image.open(path).convert("RGB")) for path in sorted((photos / "round").iterdir())]
    fitted = ImageIndex(load_config(overrides=SHORT)).fit(arrays)
    assert fitted.image_ids_[0] == "000000"
    assert fitted.search(arrays[2], 1)[0].id == 2


def test_unreadable_files_are_skipped_and_duplicates_reported(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for i, path in enumerate(sorted((photos / "round").iterdir())[:5]):
        (folder / f"{i}.png").write_bytes(path.read_bytes())
    (folder / "copy.png").write_bytes((folder / "2.png").read_bytes())
    (folder / "empty.jpg").write_bytes(b"")
    fitted = ImageIndex(load_config(overrides=SHORT)).fit(folder)
    assert [Path(error.path).name for error in fitted.report_.skipped] == ["empty.jpg"]
    assert fitted.report_.duplicates == (("2.png", "copy.png"),)
    assert len(fitted.image_ids_) == 6
    with pytest.raises(ImageReadError, match="empty"):
        fitted.search(folder / "empty.jpg")


def test_one_image_is_a_collection(photos: Path) -> None:
    fitted = ImageIndex(load_config(overrides=SHORT)).fit(photos / "round" / "01.png")
    assert [r.image_id for r in fitted.search(photos / "round" / "03.png")] == ["01.png"]


def test_wrong_use_is_explained(photos: Path, index: ImageIndex, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="call fit"):
        ImageIndex(IndexConfig()).search(photos / "round" / "01.png")
    with pytest.raises(UsageError, match="at least 1"):
        index.search(photos / "round" / "01.png", 0)
    with pytest.raises(UsageError, match="at least k"):
        index.search(photos / "round" / "01.png", 10, beam_size=3)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(UsageError, match="none of the 1 images"):
        ImageIndex().fit(tmp_path / "only")


def test_broken_and_newer_indexes_are_refused(index: ImageIndex, tmp_path: Path) -> None:
    path = tmp_path / "out.dsi"
    with pytest.raises(UsageError, match="no such index"):
        ImageIndex.load(path)
    index.save(path)
    description = json.loads((path / "index.json").read_text())
    (path / "index.json").write_text(json.dumps({**description, "format_version": 99}))
    with pytest.raises(IndexFormatError, match="upgrade"):
        ImageIndex.load(path)
    (path / "index.json").write_text("{")
    with pytest.raises(IndexFormatError, match="broken"):
        ImageIndex.load(path)
    (path / "index.json").write_text(json.dumps(description))
    (path / "model-000001.safetensors").write_bytes(b"\0" * 30)
    with pytest.raises(IndexFormatError, match="broken"):
        ImageIndex.load(path)
    (path / "index.json").unlink()
    with pytest.raises(IndexFormatError, match="not an index"):
        ImageIndex.load(path)
    with pytest.raises(UsageError, match="is not an index"):
        index.save(path)


def test_features_are_read_from_the_cache(
    photos: Path, index: ImageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitdsi.backbones.efficientnet import EfficientNetLite0
    from vitdsi.backbones.reader import FeatureReader

    first = FeatureReader("pooled", cache=tmp_path).load(sorted(photos.rglob("*.png")))
    monkeypatch.setattr(EfficientNetLite0, "features", lambda *_: pytest.fail("the backbone ran again"))
    second = FeatureReader("pooled", cache=tmp_path).load(sorted(photos.rglob("*.png")))
    assert torch.equal(first.features, second.features)
    assert first.hashes == second.hashes
