from __future__ import annotations

import numpy as np
import pytest
from helpers_images import photographed, textured

from vitdsi.photos.keypoints import Keypoints, detect

pytest.importorskip("faiss")


def test_photographed_image_shares_most_words_with_its_photo() -> None:
    from visual_words import VisualWords

    keypoints = Keypoints.of([detect(textured(seed=i), 200, 240) for i in range(6)])
    words = VisualWords(keypoints, words=300)
    for i in (0, 3, 5):
        assert words.search(detect(photographed(textured(seed=i)), 300, 400), 6)[0] == i
    assert 0 < words.bytes_per_image <= 8 * 200


def test_photo_without_keypoints_finds_images_in_their_order() -> None:
    from visual_words import VisualWords

    blank = detect(np.full((50, 50, 3), 128, np.uint8), 10, 50)
    words = VisualWords(Keypoints.of([detect(textured(), 50, 240), blank]), words=20)
    assert words.search(blank, 5).tolist() == [0, 1]
