from __future__ import annotations


def test_picture_with_the_most_inliers_comes_first_from_a_bound_on() -> None:
    from proven import with_bounds

    likely = [([False, True], [3, 9]), ([True, False], [0, 12]), ([False, False], [2, 0])]
    found = with_bounds([False, True, True], likely, 2)
    assert found["among them"] == 2 / 3
    assert found["from inliers"]["9"] == {"R@1": 2 / 3, "wrong by inliers": 1}
    assert found["from inliers"]["14"] == {"R@1": 2 / 3, "wrong by inliers": 0}
    assert found["from inliers"]["12"] == {"R@1": 1 / 3, "wrong by inliers": 1}


def test_only_the_first_images_are_verified() -> None:
    from proven import with_bounds

    found = with_bounds([False], [([False, True], [3, 20])], 1)
    assert found["among them"] == 0
    assert found["from inliers"]["6"]["R@1"] == 0
