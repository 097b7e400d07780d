"""A map of pictures that is trained with a contrastive loss, for the ladder of `photographed.py`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitdsi.model.pictures import Pictures, signed_root

__all__ = ["Contrastive", "contrastive"]

_BATCH, _STEPS, _RATE = 256, 500, 3e-4


class Contrastive(nn.Module):
    """A map that starts as that of the hard views, with `depth` blocks of attention over the cells of a feature map."""

    def __init__(
        self, pictures: Pictures, cells: int = 0, channels: int = 0, depth: int | None = None
    ) -> None:
        super().__init__()
        self.mean = pictures.mean
        self.weight = nn.Parameter(pictures.weight.clone())
        self.depth = depth
        if depth is not None:
            self.norm, self.project = nn.LayerNorm(channels), nn.Linear(channels, 192)
            self.positions = nn.Parameter(0.02 * torch.randn(cells, 192))
            layer = nn.TransformerEncoderLayer(
                192, 4, 384, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False) if depth else None
            self.out = nn.Linear(192, len(pictures.weight))
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, pooled: Tensor, cells: Tensor | None = None) -> Tensor:
        vectors = (signed_root(pooled.float()) - self.mean) @ self.weight.T
        if cells is not None:
            tokens = self.project(self.norm(cells.float())) + self.positions
            tokens = tokens if self.encoder is None else self.encoder(tokens)
            vectors = vectors + self.out(tokens.mean(1)) * vectors.norm(dim=1).mean().detach()
        return F.normalize(vectors, dim=1)


def contrastive(
    pictures: Pictures,
    pooled: tuple[Tensor, Tensor, Tensor],
    *,
    free: bool,
    negatives: Tensor | None = None,
    all_too: bool = False,
) -> Tensor:
    """Train a map with a contrastive loss over all pictures, and return the cosines (N, P, M) of the queries.

    Args:
        pooled: features of the pictures (M, F), of their views (M, V, F) and of the queries (N, P, F).
        free: the vectors of the pictures are trained as well, instead of following the map.
        negatives: (M, V, K) the pictures that each view is told from; None for all of them.
        all_too: add the loss over all pictures.
    """
    torch.manual_seed(0)
    model = Contrastive(pictures)
    rows = nn.Parameter(pictures.rows.clone())
    scale = nn.Parameter(torch.tensor(3.0))
    groups = [{"params": [model.weight, *([rows] if free else [])], "rate": _RATE}]
    groups += [{"params": [p for n, p in model.named_parameters() if n != "weight"], "rate": 1e-3}]
    optimizer = torch.optim.AdamW([*groups, {"params": [scale], "rate": 1e-2}], lr=0.0, weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    views = pooled[1].shape[1]

    def embed(which: int, at: tuple[Tensor, ...]) -> Tensor:
        return model(pooled[which][at])

    def vectors() -> Tensor:
        """Those of the pictures, drawn towards their views as in the product."""
        with torch.no_grad():
            own = torch.cat([embed(0, (part,)) for part in torch.arange(len(rows)).split(_BATCH)])
            seen = torch.stack(
                [
                    torch.cat(
                        [embed(1, (p, torch.full_like(p, v))) for p in torch.arange(len(rows)).split(_BATCH)]
                    )
                    for v in range(views)
                ]
            )
            return F.normalize(own + 2 * seen.mean(0), dim=1)

    for step in range(_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * min(1.0, step / 50, 2 * (1 - step / _STEPS))
        if not free and step % 50 == 0:
            rows.data = vectors()
        images = torch.randint(len(rows), (_BATCH,), generator=generator)
        chosen = torch.randint(views, (_BATCH,), generator=generator)
        cosines = embed(1, (images, chosen)) @ F.normalize(rows, dim=1).T
        scores = scale.exp() * cosines
        loss = F.cross_entropy(scores, images)
        if negatives is not None:
            others = negatives[images, chosen]
            own = scores.gather(1, images[:, None])
            hard = scores.gather(1, others).masked_fill(others == images[:, None], -torch.inf)
            of_beams = F.cross_entropy(torch.cat([own, hard], dim=1), torch.zeros_like(images))
            loss = loss + of_beams if all_too else of_beams
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        last = F.normalize(rows, dim=1) if free else vectors()
        count, parts = pooled[2].shape[:2]
        asked = torch.stack(
            [embed(2, (torch.arange(count), torch.full((count,), p))) for p in range(parts)], 1
        )
        return asked @ last.T
