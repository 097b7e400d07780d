from __future__ import annotations

from pathlib import Path

import pytest
from helpers_cli import lines, run

from vitdsi.cli.opening import current_export

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


def test_without_an_export_there_is_none(dsi: Path, tmp_path: Path) -> None:
    assert current_export(dsi) is None
    assert current_export(tmp_path / "missing.dsi") is None


def test_a_search_gives_the_same_results_from_an_export_until_the_index_changes(
    copied: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = photos / "round" / "03.png"
    before = lines(run("search", copied, query))
    assert run("export", copied).exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr("vitdsi.index.ImageIndex.load", None)  # calling it would raise TypeError
        after = run("search", copied, query)
    assert after.stderr == ""
    for expected, found in zip(before, lines(after), strict=True):
        assert found.pop("score") == pytest.approx(expected.pop("score"), abs=1e-4)
        assert found.pop("log_prob") == pytest.approx(expected.pop("log_prob"), abs=1e-4)
        assert found == expected
    assert run("remove", copied, "round/03.png").exit_code == 0
    changed = run("search", copied, query)
    assert "the index was changed after its export" in changed.stderr
    assert "round/03.png" not in [line["image_id"] for line in lines(changed)]


def test_what_an_export_cannot_answer_is_asked_of_the_index(copied: Path, photos: Path) -> None:
    assert run("export", copied).exit_code == 0
    found = lines(run("search", copied, photos / "round" / "03.png", "--where", "width > 0", "-k", "2"))
    assert len(found) == 2
