from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitdsi.errors import UsageError
from vitdsi.paper.hub import load_hub
from vitdsi.photos.decode import decode


@dataclass
class ImageFeature:
    decode: bool = True


@dataclass
class ClassLabel:
    names: list[str]


@dataclass
class Dataset:
    rows: list[dict[str, Any]]
    features: dict[str, Any]
    decoded: bool = True

    def cast_column(self, column: str, feature: ImageFeature) -> Dataset:
        assert column == "picture"
        return Dataset(self.rows, self.features, feature.decode)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        assert not self.decoded, "the photos must be written as they are"
        return iter(self.rows)


@dataclass
class Library:
    """The part of `datasets` that load_hub uses."""

    result: Any
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    Image: type = ImageFeature
    ClassLabel: type = ClassLabel

    def load_dataset(self, *args: Any, **options: Any) -> Any:
        self.calls.append((*args, options))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def photo(colour: str, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, kind)
    return buffer.getvalue()


def dataset(tmp_path: Path, last_label: int = 0) -> Dataset:
    (tmp_path / "original.png").write_bytes(photo("blue", "PNG"))
    return Dataset(
        [
            {"picture": {"bytes": photo("red", "PNG"), "path": None}, "label": 1},
            {"picture": {"bytes": photo("green", "JPEG"), "path": "x.png"}, "label": 0},
            {"picture": {"bytes": None, "path": str(tmp_path / "original.png")}, "label": 2},
            {"picture": {"bytes": b"broken", "path": None}, "label": last_label},
        ],
        {
            "id": SimpleNamespace(),
            "picture": ImageFeature(),
            "label": ClassLabel(["tench", "crane", "crane/../x"]),
        },
    )


def install(monkeypatch: pytest.MonkeyPatch, library: object) -> None:
    def load(name: str) -> Any:
        assert name == "datasets"
        if isinstance(library, Exception):
            raise library
        return library

    monkeypatch.setattr(importlib, "import_module", load)


def test_first_load_exports_to_class_folders_and_later_loads_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(dataset(tmp_path))
    install(monkeypatch, library)
    records = load_hub("zh-plus/tiny-imagenet", "train", tmp_path / "cache")
    assert [(r.image_id, r.label) for r in records] == [
        ("0000_tench/0000001.jpg", "0000_tench"),
        ("0000_tench/0000003.jpg", "0000_tench"),
        ("0001_crane/0000000.png", "0001_crane"),
        ("0002_crane-x/0000002.png", "0002_crane-x"),
    ]
    assert records[0].path.read_bytes() == photo("green", "JPEG")
    assert np.asarray(decode(records[3].path))[0, 0].tolist() == [0, 0, 255]
    assert library.calls == [("zh-plus/tiny-imagenet", None, {"split": "train"})]
    assert load_hub("zh-plus/tiny-imagenet", "train", tmp_path / "cache") == records
    assert len(library.calls) == 1


def test_imagenette_is_loaded_from_the_parquet_files_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(dataset(tmp_path))
    install(monkeypatch, library)
    load_hub("frgfm/imagenette", "train", tmp_path / "cache")
    load_hub("frgfm/imagenette", "train", tmp_path / "cache", subset="160px")
    assert [call[-1]["data_dir"] for call in library.calls] == ["320px", "160px"]
    assert all(call[-1]["revision"] == "refs/convert/parquet" for call in library.calls)


def test_missing_library_names_the_extra_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ImportError("no datasets"))
    with pytest.raises(UsageError, match=r"pip install 'vitdsi\[hub\]'"):
        load_hub("ILSVRC/imagenet-1k", "train", tmp_path)


def test_download_error_is_one_line_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Library(ConnectionError("Couldn't reach the Hub\nmore")))
    with pytest.raises(
        UsageError, match=r"ILSVRC/imagenet-1k, split train: .*\(Couldn't reach the Hub\); check"
    ):
        load_hub("ILSVRC/imagenet-1k", "train", tmp_path)


def test_failed_export_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Library(dataset(tmp_path, last_label=-1)))
    with pytest.raises(UsageError, match="image 3 has class -1"):
        load_hub("ILSVRC/imagenet-1k", "test", tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert not (tmp_path / "cache" / "ILSVRC--imagenet-1k" / "test").exists()


def test_data_set_without_images_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Library(Dataset([], {"text": SimpleNamespace(), "label": ClassLabel(["a"])})))
    with pytest.raises(UsageError, match="the columns are text, label"):
        load_hub("some/texts", "train", tmp_path)


@pytest.mark.parametrize("name", ["../x", "a//b", "", "a b"])
def test_malformed_name_raises(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="give names such as"):
        load_hub(name, "train", tmp_path)
