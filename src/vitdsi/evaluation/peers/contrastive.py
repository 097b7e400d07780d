"""The space of a linear projection that is trained by the supervised contrastive loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitdsi.evaluation.peers.base import Floats, Given
from vitdsi.evaluation.peers.spaces import Space, normalised

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self

__all__ = ["Contrastive"]

_BATCH = 512


class Contrastive:
    """A metric projection: photos of one class are drawn together, others apart (Khosla et al., NeurIPS 2020).

    The loss of photo i is - mean over p in P(i) of log (exp(z_i z_p / t) / sum over a != i of exp(z_i z_a / t)), where
    P(i) are the other photos of its class in the batch.

    Args:
        start: the space whose vectors are projected.
        width: numbers in a projected vector.
        temperature: t. The paper uses .1.
        steps: optimisation steps of Adam, with a rate that falls to zero as a cosine.
        rate: the first rate.
        seed: the seed of weights and batches.
    """

    name = "metric projection"
    needs_labels = True

    def __init__(
        self,
        start: Space,
        *,
        width: int = 128,
        temperature: float = 0.1,
        steps: int = 300,
        rate: float = 1e-2,
        seed: int = 0,
    ) -> None:
        self.start, self.width, self.temperature = start, width, temperature
        self.steps, self.rate, self.seed = steps, rate, seed

    def fit(self, given: Given) -> Self:
        import torch
        import torch.nn.functional as F

        vectors = torch.from_numpy(self.start.fit(given).embed(given.vectors))
        classes = torch.from_numpy(given.known_classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            layer = torch.nn.Linear(vectors.shape[1], self.width, bias=False)
        generator = torch.Generator().manual_seed(self.seed)
        optimizer = torch.optim.Adam(layer.parameters(), lr=self.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        for _ in range(self.steps):
            rows = torch.randperm(len(vectors), generator=generator)[:_BATCH]
            loss = _loss(F.normalize(layer(vectors[rows]), dim=1), classes[rows], self.temperature)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        self._projection: Floats = layer.weight.detach().numpy().T
        return self

    def embed(self, vectors: Floats) -> Floats:
        return normalised(self.start.embed(vectors) @ self._projection)


def _loss(vectors: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Return the loss of unit vectors (B, D) with classes (B,); photos without another of their class do not count."""
    import torch

    own = torch.eye(len(vectors), dtype=torch.bool)
    log_probs = (vectors @ vectors.T / temperature).masked_fill(own, -torch.inf).log_softmax(1)
    same = (classes[:, None] == classes) & ~own
    positives = same.sum(1)
    losses = -log_probs.masked_fill(~same, 0).sum(1) / positives.clamp(min=1)
    return losses.sum() / (positives > 0).sum().clamp(min=1)
