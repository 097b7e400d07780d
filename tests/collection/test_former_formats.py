from __future__ import annotations

from typing import Any

import pytest

from vitdsi.collection.former_formats import upgraded


def manifest(version: int) -> dict[str, Any]:
    settings = {"model": {"category_dim": 64}, "training": {"hard_views": 3}}
    files = {"tokens" if version == 2 else "features": "features.safetensors"}
    key = "config" if version == 2 else "resolved"
    return {"format_version": version, "files": files, key: settings, "requested": "as asked"}


def test_the_present_format_stays_as_it_is() -> None:
    assert upgraded(manifest(5)) == manifest(5)


@pytest.mark.parametrize(("version", "categories"), [(2, 0), (3, 0), (4, 64)])
def test_former_formats_learned_less(version: int, categories: int) -> None:
    made = upgraded(manifest(version))
    assert made["resolved"]["model"]["category_dim"] == categories
    assert made["resolved"]["training"]["hard_views"] == 0
    assert list(made["files"]) == ["features"]
