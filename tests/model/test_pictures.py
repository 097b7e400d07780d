from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vitdsi.model.axes import sampled
from vitdsi.model.pictures import pictures_from_features, pictures_from_views, signed_root


def test_signed_root_keeps_the_sign() -> None:
    torch.testing.assert_close(signed_root(torch.tensor([4.0, 0.0, -9.0])), torch.tensor([2.0, 0.0, -3.0]))


@pytest.mark.parametrize(("count", "width"), [(6, 1280), (40, 64), (300, 64)])
def test_without_views_the_map_is_whitened_principal_axes(count: int, width: int) -> None:
    """There are as many images as axes or fewer, and a copy among them, which once gave NaN."""
    generator = torch.Generator().manual_seed(count)
    features = torch.randn(count, width, generator=generator).relu() * torch.linspace(2, 0.01, width)
    features[-1] = features[0]
    pictures = pictures_from_features(features, 32)
    roots = features.sqrt()
    torch.testing.assert_close(pictures.mean, roots.mean(0))
    centred = (roots - roots.mean(0)).double()
    spread = torch.linalg.svdvals(centred).square()[:32] / count
    projected = centred @ pictures.weight.double().T
    expected = torch.zeros(32, dtype=torch.float64)
    expected[: len(spread)] = spread / (spread + 0.3 * centred.square().mean()) ** 0.75
    torch.testing.assert_close(projected.T @ projected / count, expected.diag(), atol=1e-3, rtol=1e-3)


SIGNAL, NOISE = 8, 32


def with_views(count: int = 60, views: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Images that are told apart by their first features, and whose views differ in all others."""
    generator = torch.Generator().manual_seed(count)
    signal = torch.rand(count, SIGNAL, generator=generator) + 0.1
    noise = 3 * torch.rand(count, 1 + views, NOISE, generator=generator)
    every = torch.cat([signal[:, None].expand(-1, 1 + views, -1), noise], dim=2)
    return every[:, 0], every[:, 1:]


def test_with_views_the_map_ignores_what_differs_between_views_of_one_image() -> None:
    used = pictures_from_views(*with_views(), SIGNAL).weight.norm(dim=0)
    assert used[:SIGNAL].min() > 2 * used[SIGNAL:].max()


def test_with_views_the_map_finds_new_views_that_whitening_misses() -> None:
    features, views = with_views()
    queries = views[:, 0]
    right = {}
    for name, pictures in (
        ("views", pictures_from_views(features, views[:, 1:], SIGNAL)),
        ("none", pictures_from_features(features, SIGNAL)),
    ):
        embedded = F.normalize((signed_root(queries) - pictures.mean) @ pictures.weight.T, dim=1)
        right[name] = float(((embedded @ pictures.rows.T).argmax(1) == torch.arange(60)).float().mean())
    assert right["views"] > 0.7
    assert right["none"] < 0.5


def test_vectors_of_images_are_drawn_towards_their_views() -> None:
    features, views = with_views()
    pictures = pictures_from_views(features, views, 12)

    def embed(x: torch.Tensor) -> torch.Tensor:
        return F.normalize((signed_root(x) - pictures.mean) @ pictures.weight.T, dim=-1)

    expected = F.normalize(embed(features) + 2 * embed(views).mean(1), dim=1)
    torch.testing.assert_close(pictures.rows, expected)


def test_map_of_a_large_collection_is_that_of_a_sample_and_each_image_has_a_vector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    features, views = (part.half() for part in with_views())
    monkeypatch.setattr("vitdsi.model.axes.SAMPLE", 40)
    monkeypatch.setattr("vitdsi.model.pictures.BLOCK", 16)
    sample = sampled(features)
    for found, alone in (
        (pictures_from_views(features, views, 12), pictures_from_views(features[sample], views[sample], 12)),
        (pictures_from_features(features, 12), pictures_from_features(features[sample], 12)),
    ):
        torch.testing.assert_close(found.weight, alone.weight)
        torch.testing.assert_close(found.rows[sample], alone.rows)
        torch.testing.assert_close(found.rows.norm(dim=1), torch.ones(len(features)))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_images_have_embeddings_without_nan(count: int) -> None:
    features, views = with_views(count)
    pictures = pictures_from_views(features.half(), views.half(), SIGNAL)
    assert torch.isfinite(pictures.weight).all()
    assert torch.isfinite(pictures.rows).all()
