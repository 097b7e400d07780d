"""The configuration of each method of the table: the paper's recipe, ours, and quick variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vitdsi.config import IndexConfig, load_config

_OURS = "ours."

# What recipes/paper.yaml leaves to the defaults, as in the paper: a constant learning rate, and phases that end as soon
# as their condition holds. The retrieval phase ends after 40 evaluations without a lower validation loss.
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
    """The paper's sequential recipe (sections 3.2 and 3.2.1): recipes/paper.yaml.

    Args:
        scheme: id scheme.
        seed: seed of ids, model and training.
        image_size: side in pixels of the images that the model reads.
        overrides: `key=value`; those that begin with `ours.` are ignored.
        quick: limit the training to a minute or so.

    Raises:
        ConfigError: an override is not valid.
    """
    given = [*_PAPER, *(_QUICK_PAPER if quick else ()), *_common(scheme, seed, image_size)]
    return load_config("paper", [*given, *(text for text in overrides if not text.startswith(_OURS))])


def our_recipe(
    scheme: str,
    seed: int,
    image_size: int,
    overrides: Sequence[str],
    *,
    minutes: float | None = None,
    epochs: float | None = None,
) -> IndexConfig:
    """The paper's model with joint training on the exact prefix-marginal: recipes/paper_ours.yaml.

    Args:
        scheme: id scheme.
        seed: seed of ids, model and training.
        image_size: side in pixels of the images that the model reads.
        overrides: `key=value`. Those that begin with `ours.` belong to this recipe alone and take precedence. Of the
            others, those of ids, model and device apply; those of training do not, as the recipes train differently.
        minutes: limit of the training time.
        epochs: limit in epochs, in indexed images.

    Raises:
        ConfigError: an override is not valid.
    """
    given = _common(scheme, seed, image_size)
    shared = [
        text for text in overrides if text.split(".", 1)[0] in ("ids", "model") or text.startswith("device")
    ]
    own = [text.removeprefix(_OURS) for text in overrides if text.startswith(_OURS)]
    config = load_config("paper_ours", [*given, *shared, *own])
    training = config.training
    minutes, epochs = _lower(minutes, training.minutes), _lower(epochs, training.max_epochs)
    return replace(config, training=replace(training, minutes=minutes, max_epochs=epochs))


def _lower(*limits: float | None) -> float | None:
    """The lower of the limits that there are."""
    return min((limit for limit in limits if limit is not None), default=None)


def _common(scheme: str, seed: int, image_size: int) -> list[str]:
    return [f"ids.scheme={scheme}", f"seed={seed}", f"model.paper.image_size={image_size}"]
