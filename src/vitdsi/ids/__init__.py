"""Id schemes: which code each image of a collection gets.

A scheme is one object in a file of its own, listed in `SCHEMES`.
"""

from __future__ import annotations

from vitdsi.ids.clustered import ClusteredIds
from vitdsi.ids.random import RandomIds
from vitdsi.ids.scheme import Growth, IdContext, IdScheme
from vitdsi.ids.semantic import SemanticIds
from vitdsi.registry import choose

__all__ = ["SCHEMES", "Growth", "IdContext", "IdScheme", "scheme_named"]

SCHEMES: dict[str, IdScheme] = {
    scheme.name: scheme
    for scheme in (
        ClusteredIds(),
        RandomIds(),
        SemanticIds(),
    )
}


def scheme_named(name: str) -> IdScheme:
    """Return the scheme of this name. Raises ConfigError for an unknown one."""
    return choose(SCHEMES, "ids.scheme", name)
