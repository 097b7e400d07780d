from __future__ import annotations

from pathlib import Path

import pytest

from vitdsi.errors import UsageError
from vitdsi.export.onnxruntime_web import VERSION, onnxruntime_web

_FILES = {"ort.js", "ort-wasm.js", "ort.wasm", "LICENSE.txt"}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package in an empty registry, and an empty cache."""
    monkeypatch.setenv("VITDSI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", (tmp_path / "registry").as_uri())
    package = tmp_path / "registry" / "onnxruntime-web" / "-" / f"onnxruntime-web-{VERSION}.tgz"
    package.parent.mkdir(parents=True)
    return package


def test_a_folder_is_taken_in_place_of_the_registry(tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    dist.mkdir()
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        (dist / name).write_text(name)
    for folder in (tmp_path, dist):
        files = onnxruntime_web(folder)
        assert set(files) == _FILES
        assert files["ort.wasm"] == b"ort-wasm-simd-threaded.wasm"
        assert b"MIT License" in files["LICENSE.txt"]


def test_a_folder_without_the_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"it has no file ort\.wasm\.min\.mjs"):
        onnxruntime_web(tmp_path)


def test_without_a_connection_the_error_says_what_else_to_do(registry: Path) -> None:
    with pytest.raises(UsageError, match="with --onnxruntime-web DIR"):
        onnxruntime_web()


def test_another_content_than_that_of_the_package_is_refused(registry: Path, tmp_path: Path) -> None:
    registry.write_bytes(b"something else")
    with pytest.raises(UsageError, match="its hash differs"):
        onnxruntime_web()
    assert not (tmp_path / "cache").exists()


def test_the_package_is_kept_in_the_cache(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NPM_CONFIG_REGISTRY")
    try:
        files = onnxruntime_web()
    except UsageError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", (tmp_path / "nowhere").as_uri())
    assert onnxruntime_web() == files
    assert set(files) == _FILES
