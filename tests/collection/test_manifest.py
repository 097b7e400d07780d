from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers_former import write_format_5
from helpers_stored import add, stored

from vitdsi.collection.compact import compact
from vitdsi.collection.manifest import last_generation, read_manifest
from vitdsi.collection.parts import GROWING, PARTS
from vitdsi.collection.remove import remove
from vitdsi.collection.storage import check_files, read_index, write_index
from vitdsi.errors import IndexFormatError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "i.dsi"
    write_index(path, stored())
    return path


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((path / "index.json").read_text("utf-8"))
    change(manifest)
    (path / "index.json").write_text(json.dumps(manifest), "utf-8")


def test_changes_keep_the_checksums_of_files_that_they_do_not_write(path: Path) -> None:
    write_index(path, add(read_index(path), 5), GROWING)
    write_index(path, remove(read_index(path), [3]), ("live",))
    manifest = read_manifest(path)
    named = {name for files in manifest["files"].values() for name, _ in files}
    assert set(manifest["checksums"]) == named == {file.name for file in path.glob("*-*")}
    assert check_files(path) == []
    write_index(path, compact(read_index(path), retrain=False))
    assert set(read_manifest(path)["checksums"]) == {file.name for file in path.glob("*-*")}
    assert check_files(path) == []


def test_files_without_checksums_are_read_and_named(path: Path) -> None:
    edit(path, lambda manifest: [manifest.pop("checksum"), manifest.pop("checksums")])
    assert len(check_files(path)) == len(list(path.glob("*-*")))
    write_index(path, remove(read_index(path), [3]), ("live",))
    assert set(read_manifest(path)["checksums"]) == {"live-000002.safetensors"}
    assert len(read_index(path).trie.live_ids()) == 59


@pytest.mark.parametrize("value", [None, "", "0" * 16, [], {}, 7])
def test_checksum_that_lies_is_a_format_error(path: Path, value: object) -> None:
    edit(path, lambda manifest: manifest.update(checksum=value))
    with pytest.raises(IndexFormatError, match="not as it was written"):
        read_index(path)


@pytest.mark.parametrize(
    "value", [None, "x", [], {"live-000001.safetensors": "x"}, {"live-000001.safetensors": 7}]
)
def test_checksums_that_are_none_are_a_format_error(path: Path, value: object) -> None:
    edit(path, lambda manifest: [manifest.pop("checksum"), manifest.update(checksums=value)])
    with pytest.raises(IndexFormatError, match="broken"):
        read_index(path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b'{"format_version": 6}', b'{"format_version": 1}']
)
def test_index_whose_description_is_damaged_can_be_replaced(path: Path, content: bytes) -> None:
    write_index(path, remove(read_index(path), [3]), ("live",))
    (path / "index.json").write_bytes(content)
    assert last_generation(path) == 2
    with pytest.raises(IndexFormatError):
        write_index(path, stored(), PARTS)  # a change of what cannot be read
    assert write_index(path, stored()) == 3
    assert len(read_index(path).trie.live_ids()) == 60
    assert {file.name for file in path.glob("*-*")} == set(read_manifest(path)["checksums"])


def test_former_format_gets_checksums_with_its_first_change(tmp_path: Path) -> None:
    path = tmp_path / "former.dsi"
    write_format_5(path, replace(stored(former=True), held_out=None))
    edit(path, lambda manifest: manifest.update(checksum="of a later version"))
    with pytest.raises(IndexFormatError, match="not as it was written"):
        read_index(path)
    edit(path, lambda manifest: manifest.pop("checksum"))
    assert len(check_files(path)) == len(list(path.glob("*-*")))
    write_index(path, remove(read_index(path), [3]), ("live",))
    assert check_files(path) == []
