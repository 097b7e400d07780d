from __future__ import annotations

from pathlib import Path


def test_agreement_counts_first_results_and_shares_of_all() -> None:
    import web

    found = web.agreement([["a", "b"], ["c", "d"]], [["a", "x"], ["d", "c"]])
    assert found == {"top1": 0.5, "top10": 0.75}


def test_pictures_are_not_loaded_before_a_search(tmp_path: Path) -> None:
    import web

    files = {"read.onnx": 5, "names.bin": 7, "static/app.js": 11, "index.html": 13, "pictures/0/1.webp": 17}
    for name, size in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    sizes = web.sizes(tmp_path)
    assert (sizes["graphs"], sizes["arrays"], sizes["page"], sizes["pictures"]) == (5, 7, 24, 17)
    assert (sizes["all"], sizes["loaded"]) == (53, 36)
