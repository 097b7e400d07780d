from __future__ import annotations

import os
from pathlib import Path

import pytest

from vitdsi.collection.checksums import file_checksums, manifest_checksum, verify

LARGE = 2_500_000


@pytest.fixture
def large(tmp_path: Path) -> Path:
    file = tmp_path / "large"
    file.write_bytes(bytes(range(250)) * (LARGE // 250))
    return file


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def test_unchanged_file_fits_its_checksums(large: Path) -> None:
    checksums = file_checksums(large)
    verify(large, checksums)
    verify(large, checksums, whole=True)
    verify(large, None)


@pytest.mark.parametrize("place", [0, LARGE - 1])
def test_change_of_the_first_or_last_byte_of_a_large_file_is_noticed_at_once(large: Path, place: int) -> None:
    checksums = file_checksums(large)
    flip(large, place)
    with pytest.raises(ValueError, match="large is not as it was written"):
        verify(large, checksums)


def test_change_of_any_byte_of_a_large_file_is_noticed_on_request(large: Path) -> None:
    checksums = file_checksums(large)
    flip(large, 100_000)
    verify(large, checksums)
    with pytest.raises(ValueError, match="large is not as it was written"):
        verify(large, checksums, whole=True)


@pytest.mark.parametrize("size", [0, LARGE - 1, LARGE + 1])
def test_other_size_is_noticed(large: Path, size: int) -> None:
    checksums = file_checksums(large)
    os.truncate(large, size)
    with pytest.raises(ValueError, match="large is not as it was written"):
        verify(large, checksums)


def test_what_is_not_a_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to("circle")
    for name in ("pipe", "zeros", "circle", "."):
        with pytest.raises(FileNotFoundError, match="is missing, or not a file"):
            verify(tmp_path / name, None)


def test_checksum_of_a_description_does_not_depend_on_itself_or_on_the_order() -> None:
    checksum = manifest_checksum({"a": 1, "b": [1, 2]})
    assert checksum == manifest_checksum({"b": (1, 2), "a": 1, "checksum": "x"})
    assert checksum != manifest_checksum({"a": 2, "b": [1, 2]})
