from __future__ import annotations

from pathlib import Path

from helpers_images import photo

from vitdsi.backbones.read_photos import hash_files
from vitdsi.photos.decode import content_hash


def test_files_have_hashes_other_photos_empty_ones_and_missing_files_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    photo().save(path)
    hashes, errors = hash_files([path, photo(), tmp_path / "missing.png", str(path)])
    assert hashes == {0: content_hash(path), 1: "", 3: content_hash(path)}
    assert [Path(error.path).name for error in errors] == ["missing.png"]
