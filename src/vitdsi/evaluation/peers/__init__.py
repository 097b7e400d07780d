"""Peers: the methods that an index is compared with, on the same features of the same frozen backbone."""

from __future__ import annotations

from collections.abc import Callable

from vitdsi.evaluation.peers.approximate import Approximate
from vitdsi.evaluation.peers.base import Peer
from vitdsi.evaluation.peers.contrastive import Contrastive
from vitdsi.evaluation.peers.cosine import Cosine
from vitdsi.evaluation.peers.diffusion import Diffusion, DiffusionStep
from vitdsi.evaluation.peers.discriminant import Discriminant
from vitdsi.evaluation.peers.expansion import QueryExpansion
from vitdsi.evaluation.peers.half_whitened import HalfWhitened
from vitdsi.evaluation.peers.linear_probe import LinearProbe
from vitdsi.evaluation.peers.principal import Principal
from vitdsi.evaluation.peers.spaces import Raw, Standardised
from vitdsi.evaluation.peers.whitened import Whitened
from vitdsi.registry import choose

__all__ = ["PEERS", "Peer", "peer_named"]

# A function that makes the peer, by the name in tables. EXPERIMENTS.md says on which sets their parameters were chosen.
PEERS: dict[str, Callable[[], Peer]] = {
    "raw cosine": lambda: Cosine(Raw()),
    "half-whitened cosine": lambda: Cosine(HalfWhitened()),
    "PCA cosine": lambda: Cosine(Principal()),
    "whitened cosine": lambda: Cosine(Whitened()),
    "raw + query expansion": lambda: QueryExpansion(Raw()),
    "raw + database and query expansion": lambda: QueryExpansion(Raw(), augment=True),
    "half-whitened + query expansion": lambda: QueryExpansion(HalfWhitened(), alpha=0.0),
    "half-whitened + database and query expansion": lambda: QueryExpansion(
        HalfWhitened(), alpha=1.0, augment=True
    ),
    "PCA + query expansion": lambda: QueryExpansion(Principal(), alpha=1.0),
    "PCA + database and query expansion": lambda: QueryExpansion(Principal(), alpha=2.0, augment=True),
    "raw + diffusion step": lambda: DiffusionStep(Raw()),
    "half-whitened + diffusion step": lambda: DiffusionStep(HalfWhitened(), power=1.0),
    "raw + diffusion": lambda: Diffusion(Raw()),
    "half-whitened + diffusion": lambda: Diffusion(HalfWhitened()),
    "PCA + diffusion": lambda: Diffusion(Principal()),
    "float16": lambda: Approximate("flat16"),
    "int8": lambda: Approximate("flat8"),
    "HNSW": lambda: Approximate("hnsw"),
    "IVF-PQ": lambda: Approximate("ivf-pq"),
    "OPQ": lambda: Approximate("opq"),
    "linear probe": lambda: LinearProbe(Standardised()),
    "LDA cosine": lambda: Cosine(Discriminant()),
    "metric projection cosine": lambda: Cosine(Contrastive(Raw())),
}


def peer_named(name: str) -> Peer:
    """Make the peer of this name. Raises ConfigError for an unknown one."""
    return choose(PEERS, "peer", name)()
