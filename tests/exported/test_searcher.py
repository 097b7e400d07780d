from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers_transformers import coloured

from vitdsi import ImageIndex, SearchOptions, SearchResult
from vitdsi.errors import UsageError
from vitdsi.exported.searcher import ExportedIndex

_QUERIES = [coloured("red", 7).resize((48, 32)), coloured("cyan", 8)]


@pytest.fixture(scope="module")
def both(exported_colours: Path) -> tuple[ImageIndex, ExportedIndex]:
    return ImageIndex.load(exported_colours), ExportedIndex(exported_colours / "onnx")


def _without_floats(results: list[SearchResult]) -> list[tuple[Any, ...]]:
    return [
        (r.rank, r.image_id, r.id, r.proven, r.region, r.inliers, r.certain, r.picture_place) for r in results
    ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"regions": 1, "verify": False},
        {"k": 40, "regions": 3},
        {"regions": 2, "verify": False},
        {"k": 3, "offset": 2, "regions": 1},
        {"k": 4, "allow": ["red/1.png", "cyan/0.png", 5, "6"]},
        {"rerank": False, "regions": 1},
        {"beam_size": 10, "regions": 1},
        {"min_score": 0.2, "regions": 1},
    ],
    ids=str,
)
def test_results_are_those_of_the_index(
    both: tuple[ImageIndex, ExportedIndex], options: dict[str, Any]
) -> None:
    asked = SearchOptions(**options)
    for expected, found in zip(*(each.search_with(_QUERIES, asked) for each in both), strict=True):
        assert _without_floats(found) == _without_floats(expected)
        assert [r.score for r in found] == pytest.approx([r.score for r in expected], abs=1e-4)
        assert [r.log_prob for r in found] == pytest.approx([r.log_prob for r in expected], abs=1e-4)


@pytest.mark.parametrize(
    "options, missing",
    [
        ({"where": "width > 3"}, "facts"),
        ({"collapse": True}, "thumbnails"),
        ({"any_rotation": True}, "rotation"),
        ({"allow": ["nobody.png"]}, "'nobody.png' is not in the index"),
        ({"allow": [99]}, "99 is not in the index"),
    ],
)
def test_what_it_cannot_answer_is_an_error(
    both: tuple[ImageIndex, ExportedIndex], options: dict[str, Any], missing: str
) -> None:
    with pytest.raises(UsageError, match=missing):
        both[1].search(_QUERIES[0], **options)


def test_its_facts_are_those_of_the_index(both: tuple[ImageIndex, ExportedIndex]) -> None:
    index, exported = both
    assert len(exported) == len(index.image_ids_)
    assert exported.min_score == index.report_.calibration.min_score


def test_a_search_does_not_import_torch(exported_colours: Path, tmp_path: Path) -> None:
    _QUERIES[0].save(tmp_path / "query.png")
    code = (
        "import sys; from vitdsi.exported.searcher import ExportedIndex;"
        "print(len(ExportedIndex(sys.argv[1]).search(sys.argv[2]))); print('torch' in sys.modules)"
    )
    arguments = [sys.executable, "-c", code, str(exported_colours / "onnx"), str(tmp_path / "query.png")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["10", "False"], done.stderr


def test_in_a_large_index_only_the_most_probable_images_are_compared(
    both: tuple[ImageIndex, ExportedIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("vitdsi.search.searched", "vitdsi.exported.searcher"):
        monkeypatch.setattr(f"{module}.MOST_COMPARED", 5)
        monkeypatch.setattr(f"{module}.MOST_PROBABLE", 3)
    for expected, found in zip(*(each.search_with(_QUERIES, SearchOptions()) for each in both), strict=True):
        assert _without_floats(found) == _without_floats(expected)
        assert any(result.inliers is None for result in found)
