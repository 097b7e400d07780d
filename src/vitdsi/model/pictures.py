"""Picture embeddings: which picture a photo shows, learned in closed form from how pictures look in other photos.

The counterpart of `vitdsi.model.categories`: a linear map of the signed square roots of the features (power
normalisation, Perronnin et al. 2010), and a vector for each indexed image.

With hard views of the indexed images, the map is a linear discriminant analysis in which each image is a class of its
own (Fisher 1936; for image descriptors Mikolajczyk and Matas, "Improving descriptors for fast tree matching by optimal
linear projection", 2007). With the covariance S_w of views around their image, and S_b of the images,

    the rows of W are the first principal axes of S_w^-1/2 S_b S_w^-1/2, times S_w^-1/2,

so that directions in which views of one picture differ count little. The vector of an image is drawn towards the mean
of its views. Without hard views, the map whitens the principal axes of the images.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.model.axes import BLOCK, principal_axes, sampled

# Constants of the closed form. EXPERIMENTS.md has the evidence.
_WHITENING = 0.75  # 0 leaves the variances of the principal axes as they are, 1 makes them equal.
_SHRINKAGE = 0.3  # added to the variances before whitening, as a share of their mean over all features
_VIEW_SHRINKAGE = 0.3  # likewise, added to the variances of views
_VIEW_WEIGHT = 2.0  # of the mean of the views in the vector of an image; the image itself has weight 1


@dataclass(frozen=True)
class Pictures:
    """A linear map to picture embeddings, and the vectors of the indexed images.

    The embedding of features x is W (root(x) - mean), scaled to unit length.

    Attributes:
        mean: (F,) mean of the signed roots of the features.
        weight: (D, F), W.
        rows: (N, D) unit vectors of the indexed images.
    """

    mean: Tensor
    weight: Tensor
    rows: Tensor


def pictures_from_features(features: Tensor, dim: int) -> Pictures:
    """Learn picture embeddings of `dim` numbers from the features (N, F) of the indexed images alone.

    Here and below, features may be of any floating-point type, and mapped from a file: they are read in blocks, and the
    map is learned from a sample of large collections.
    """
    roots = signed_root(features[sampled(features)].float())
    mean = roots.mean(0)
    variances, axes = principal_axes(roots - mean, dim)
    floor = _SHRINKAGE * (roots - mean).square().mean() + 1e-12
    weight = axes * (variances + floor)[:, None].pow(-_WHITENING / 2)
    rows = torch.empty(len(features), dim)
    for block in torch.split(torch.arange(len(features)), BLOCK):
        rows[block] = embed_pictures(features[block].float(), mean, weight)
    return Pictures(mean, weight, rows)


def pictures_from_views(features: Tensor, views: Tensor, dim: int) -> Pictures:
    """Learn picture embeddings of `dim` numbers from features (N, F) of images and (N, V, F) of their hard views."""
    sample = sampled(features)
    mean = signed_root(features[sample].float()).mean(0)
    within, centres = torch.zeros(len(mean), len(mean), dtype=torch.float64), []
    for block in torch.split(sample, BLOCK):
        roots = signed_root(torch.cat([features[block, None].float(), views[block].float()], dim=1))
        centres.append(roots.mean(1))
        around = (roots - centres[-1][:, None]).flatten(0, 1)
        within += (around.T @ around).double()
    within /= len(sample) * views.shape[1]
    within.diagonal().add_(_VIEW_SHRINKAGE * within.diagonal().mean() + 1e-12)
    values, vectors = torch.linalg.eigh(within)
    whiten = (vectors * values.rsqrt() @ vectors.T).float()
    middles = torch.cat(centres)
    _, axes = principal_axes((middles - middles.mean(0)) @ whiten, dim)
    weight = axes @ whiten
    return Pictures(mean, weight, picture_rows(features, views, mean, weight))


def picture_rows(features: Tensor, views: Tensor, mean: Tensor, weight: Tensor) -> Tensor:
    """Return vectors (N, D) of images with features (N, F) and hard views (N, V, F), under the map of `Pictures`."""
    rows = torch.empty(len(features), len(weight))
    for block in torch.split(torch.arange(len(features)), BLOCK):
        of_views = embed_pictures(views[block].float(), mean, weight).mean(1)
        own = embed_pictures(features[block].float(), mean, weight)
        rows[block] = F.normalize(own + _VIEW_WEIGHT * of_views, dim=1)
    return rows


def signed_root(features: Tensor) -> Tensor:
    """Return the square root of each number's absolute value, with the number's sign."""
    return features.sign() * features.abs().sqrt()


def embed_pictures(features: Tensor, mean: Tensor, weight: Tensor) -> Tensor:
    """Return the embeddings (*S, D), unit vectors, of features (*S, F) under the map of `Pictures`."""
    return F.normalize((signed_root(features) - mean) @ weight.T, dim=-1)
