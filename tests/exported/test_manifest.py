from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vitdsi import ImageIndex
from vitdsi.errors import IndexFormatError
from vitdsi.exported.manifest import check_files, is_current, read_manifest


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexFormatError, match="is not an exported index"):
        read_manifest(tmp_path)


def test_another_format_is_refused(export: Path) -> None:
    manifest = read_manifest(export) | {"format_version": 99}
    (export / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(IndexFormatError, match="format 99"):
        read_manifest(export)


def test_an_incomplete_file_is_refused(export: Path) -> None:
    (export / "names.bin").write_bytes(b"")
    with pytest.raises(IndexFormatError, match=r"names\.bin is not complete"):
        read_manifest(export)


def test_a_damaged_file_has_another_hash(export: Path) -> None:
    check_files(export)
    content = bytearray((export / "leaves.bin").read_bytes())
    content[0] ^= 1
    (export / "leaves.bin").write_bytes(content)
    with pytest.raises(IndexFormatError, match=r"leaves\.bin was changed or damaged"):
        check_files(export)


def test_an_export_is_out_of_date_once_the_index_has_changed(exported_colours: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(exported_colours, tmp_path / "copy.dsi"))
    assert is_current(copy / "onnx", copy)
    index = ImageIndex.load(copy)
    index.remove(["red/0.png"])
    index.save(copy)
    assert not is_current(copy / "onnx", copy)
    assert not is_current(tmp_path, copy)
