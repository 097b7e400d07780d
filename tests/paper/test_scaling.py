from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from vitdsi.errors import UsageError
from vitdsi.paper.scaling import METHODS, run_scaling

pytest.importorskip("faiss")
pytest.importorskip("matplotlib")

SMALL = ("model.embed_dim=16", "model.depth=1", "model.num_heads=2")


def test_scaling_times_each_method_at_each_size(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    said: list[str] = []
    written = run_scaling(
        tmp_path,
        "vitdsi experiment scaling",
        sizes=(10, 1000, 1001),
        image_size=32,
        repeats=2,
        hnsw_limit=1000,
        overrides=SMALL,
        say=said.append,
    )
    assert torch.get_num_threads() == before
    assert written == ["scaling.md", "scaling.json", "scaling.png", "scaling.svg"]
    assert all((tmp_path / name).stat().st_size for name in written)
    content = json.loads((tmp_path / "scaling.json").read_text())
    assert [point["size"] for point in content["points"]] == [10, 1000, 1001]
    assert [point["digits"] for point in content["points"]] == [2, 4, 5], "EOS counts"
    assert [set(point["milliseconds"]) for point in content["points"]] == [
        set(METHODS),
        set(METHODS),
        set(METHODS) - {"FAISS HNSW"},
    ]
    for point in content["points"]:
        for times in point["milliseconds"].values():
            assert 0 < times["quarter"] <= times["median"] <= times["three quarters"]
    assert content["machine"]["threads"] == 1
    text = (tmp_path / "scaling.md").read_text()
    assert "**Model weights and vectors are random:**" in text
    assert "| 1,001 | 5 |" in text and text.splitlines()[-1].startswith("From 10 to 1,001 images")
    assert len(said) == 3


def test_size_below_the_number_of_results_raises(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="each must be at least 10"):
        run_scaling(tmp_path, "", sizes=(9,))
    assert list(tmp_path.iterdir()) == []
