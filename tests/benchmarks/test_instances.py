from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("faiss")


def test_likely_candidates_come_first_by_their_inliers() -> None:
    from instances import verified

    from vitdsi.search.verify import LIKELY

    ids = np.array([7, 3, 9, 4])
    assert verified(ids, ids, [0, LIKELY, LIKELY - 1, LIKELY + 5]).tolist() == [4, 3, 7, 9]
    assert verified(ids, ids, [0, 4, 5, 1]).tolist() == ids.tolist()
    assert verified(ids, np.array([9, 8]), [LIKELY, LIKELY + 1]).tolist() == [8, 9, 7, 3, 4]


def test_table_has_a_row_for_each_method() -> None:
    from instances import table

    recall = {"photos": 0.5, "on-a-wall": 1.0}
    row = {"R@1": recall, "R@100": recall, "R@1 verified": recall, "certain but wrong": 2}
    times = {"ms": 1.25, "ms verifying": 40.0, "bytes an image": 2048.0}
    run = {
        "queries": 60,
        "indexed": 3787,
        "bytes of keypoints an image": 5000.4,
        "ms detecting": 70.2,
        "photos from outside": {"queries": 1000, "certain": 1},
        "methods": {"kNN": {**row, **times}},
    }
    text = table(run)
    both = "photos 0.500, on-a-wall 1.000"
    assert f"| kNN | {both} | {both} | {both} | 2 | 1.2 | 40 | 2,048 |" in text
    assert "Of 1,000 photos of other things, 1 are certain." in text
