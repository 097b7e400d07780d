from __future__ import annotations

import numpy as np
import torch
from numpy.testing import assert_allclose

from vitdsi.evaluation.peers.base import Given
from vitdsi.evaluation.peers.contrastive import Contrastive
from vitdsi.evaluation.peers.spaces import Raw


def _given() -> Given:
    rng = np.random.default_rng(0)
    classes = np.arange(90) % 3
    vectors = rng.uniform(0, 1, size=(90, 20)).astype(np.float32)
    vectors[:, 0] = classes
    return Given(vectors, 90, classes)


def _contrast(embedded: np.ndarray, classes: np.ndarray) -> float:
    """The mean cosine within classes minus that between them."""
    cosines, same = embedded @ embedded.T, classes[:, None] == classes
    return float(cosines[same].mean() - cosines[~same].mean())


def test_training_draws_photos_of_a_class_together() -> None:
    given = _given()
    before = Contrastive(Raw(), steps=1).fit(given).embed(given.vectors)
    after = Contrastive(Raw(), steps=200, rate=0.01).fit(given).embed(given.vectors)
    assert_allclose(np.linalg.norm(after, axis=1), 1, atol=1e-5)
    assert _contrast(after, given.known_classes) > _contrast(before, given.known_classes) + 0.3


def test_training_leaves_the_random_state_of_torch_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Contrastive(Raw(), steps=2).fit(_given())
    assert torch.equal(torch.rand(3), expected)


def test_classes_of_one_photo_have_no_effect_on_the_loss() -> None:
    vectors = np.eye(3, dtype=np.float32)
    embedded = Contrastive(Raw(), steps=5).fit(Given(vectors, 3, np.arange(3))).embed(vectors)
    assert np.isfinite(embedded).all()
