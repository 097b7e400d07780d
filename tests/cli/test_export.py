from __future__ import annotations

from pathlib import Path

import pytest
from helpers_cli import lines, one_error_line, run

from vitdsi.exported.manifest import read_manifest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


def test_an_export_is_a_part_of_the_index_unless_a_folder_is_given(copied: Path, tmp_path: Path) -> None:
    for folder, arguments in (
        (copied / "onnx", []),
        (tmp_path / "photos.web", ["-o", tmp_path / "photos.web"]),
    ):
        (summary,) = lines(run("export", copied, *arguments))
        assert summary["export"] == str(folder)
        assert summary["images"] == 12
        assert summary["bytes"] == sum(path.stat().st_size for path in folder.iterdir())


def test_weights_are_stored_in_the_precision_that_is_given(
    copied: Path, photos: Path, tmp_path: Path
) -> None:
    sizes = {}
    for precision in ("float32", "float16", "int8"):
        arguments = ["-o", tmp_path / precision, "--precision", precision]
        (summary,) = lines(run("export", copied, *arguments, *(["--images", photos] * (precision == "int8"))))
        assert read_manifest(tmp_path / precision)["precision"] == precision
        sizes[precision] = summary["bytes"]
    assert sizes["int8"] < sizes["float16"] < sizes["float32"]


def test_a_folder_with_other_content_is_refused(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    one_error_line(run("export", copied, "-o", tmp_path / "mine"), 2, "is not an exported index")


@pytest.mark.parametrize(
    "arguments, advice",
    [
        (["--web"], "give -o DIR"),
        (["-o", "photos.web", "--images", "photos"], "give --web or --precision int8 as well"),
        (["-o", "photos.web", "--onnxruntime-web", "nowhere"], "give --web as well"),
        (["--precision", "int8"], "int8 needs photos to calibrate with"),
        (["-o", "photos.web", "--web", "--onnxruntime-web", "nowhere"], "is not the package onnxruntime-web"),
    ],
)
def test_options_of_the_page_are_checked(copied: Path, arguments: list[str], advice: str) -> None:
    one_error_line(run("export", copied, *arguments), 2, advice)
