from __future__ import annotations

from pathlib import Path

import pytest
import web_demo
from helpers_cli import COUNT, paint

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


@pytest.mark.slow
def test_main_writes_a_page_and_says_how_to_open_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        (tmp_path / name).write_text(name)
    for _ in range(2):  # the second time with the index of the first
        web_demo.main(tmp_path / "out", paint(tmp_path / "photos"), tmp_path)
        assert (tmp_path / "out" / "web" / "index.html").exists()
        said = capsys.readouterr().out
        assert said.startswith(f"{COUNT} photos; a browser loads ")
        assert f"python -m http.server -d {tmp_path / 'out' / 'web'}" in said
