"""How each method of the table is configured: the paper's recipe, ours, and the quick variants of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vitdsi.config import IndexConfig, load_config

_OURS = "ours."

# What the paper does and configs/paper.yaml leaves open: Adam at a constant rate, phases that end as soon as their
# condition holds. Evaluations are 50 steps apart, and retrieval ends after 40 without a better validation loss.
_PAPER = (
    "training.paper.cooldown=0",
    "training.paper.warmup_steps=1",
    "training.evaluate_every=50",
    "training.patience=40",
)
_QUICK_PAPER = ("training.max_epochs=150", "training.paper.retrieval_epochs=4", "training.minutes=0.7")


def paper_recipe(
    scheme: str, seed: int, image_size: int, overrides: Sequence[str], *, quick: bool = False
) -> IndexConfig:
    """The paper's sequential recipe (sections 3.2 and 3.2.1)."""
    given = [*_PAPER, *(_QUICK_PAPER if quick else ()), *_common(scheme, seed, image_size)]
    return load_config("paper", [*given, *(text for text in overrides if not text.startswith(_OURS))])


def our_recipe(
    scheme: str, seed: int, image_size: int, overrides: Sequence[str], *, minutes: float | None = None
) -> IndexConfig:
    """Joint training on the exact prefix-marginal, from pixels, with the paper's model (configs/paper_ours.yaml).

    Overrides that begin with `ours.` are for this recipe alone and win over the others; of those, only the ids' and
    the model's are taken, as the two recipes train differently. `minutes` limits the training time.
    """
    given = _common(scheme, seed, image_size)
    shared = [
        text for text in overrides if text.split(".", 1)[0] in ("ids", "model") or text.startswith("device")
    ]
    own = [text.removeprefix(_OURS) for text in overrides if text.startswith(_OURS)]
    config = load_config("paper_ours", [*given, *shared, *own])
    if minutes is None:
        return config
    limit = minutes if config.training.minutes is None else min(minutes, config.training.minutes)
    return replace(config, training=replace(config.training, minutes=limit))


def _common(scheme: str, seed: int, image_size: int) -> list[str]:
    return [f"ids.scheme={scheme}", f"seed={seed}", f"model.paper.image_size={image_size}"]
