from __future__ import annotations

from pathlib import Path

import pytest
from helpers_images import textured

pytest.importorskip("faiss")


def test_hard_views_have_more_inliers_with_their_own_photo(tmp_path: Path) -> None:
    from certain import measure

    for folder, seeds in (("coco", range(3)), ("imagenette/train", range(10, 14))):
        (tmp_path / folder).mkdir(parents=True)
        for seed in seeds:
            textured(300, 240, seed).save(tmp_path / folder / f"{seed}.png")
    run = measure(tmp_path / "imagenette", tmp_path / "coco", 4)
    right, wrong, outside = run["inliers"].values()
    assert sum(right) == sum(wrong) == sum(outside) == 4
    assert sum(right[run["certain from"] :]) >= 3
    assert sum(wrong[run["certain from"] :]) == sum(outside[run["certain from"] :]) == 0
