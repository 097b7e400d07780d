"""Id schemes: which code each image of a collection gets.

A scheme is a function `(context: IdContext) -> Codes` in a file of its own, registered in `SCHEMES`. It returns
prefix-free codes (N, L) for the context's base, PAD after the end of a code. `grow` gives codes to images added later.
"""

from __future__ import annotations

from collections.abc import Callable

from vitdsi.errors import UsageError
from vitdsi.ids.clustered import clustered
from vitdsi.ids.context import IdContext
from vitdsi.ids.grow import capacity_left, grow, length_for
from vitdsi.ids.random import random
from vitdsi.ids.residual import residual
from vitdsi.ids.semantic import semantic
from vitdsi.tokens import Codes

__all__ = ["SCHEMES", "IdContext", "assign", "capacity_left", "grow", "length_for"]

SCHEMES: dict[str, Callable[[IdContext], Codes]] = {
    "random": random,
    "clustered": clustered,
    "semantic": semantic,
    "residual": residual,
}


def assign(scheme: str, context: IdContext) -> Codes:
    """Codes (N, L) of a collection under a scheme; UsageError for an unknown scheme."""
    if scheme not in SCHEMES:
        raise UsageError(f"ids.scheme is {scheme!r}; choose one of {', '.join(sorted(SCHEMES))}")
    return SCHEMES[scheme](context)
