"""Backbones: frozen networks that turn photos into features, and the cache of those features."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from vitdsi.registry import choose

if TYPE_CHECKING:
    from vitdsi.backbones.base import Backbone

__all__ = ["BACKBONES", "backbone_named", "check_backbone"]

BACKBONES = {
    "efficientnet-lite0": "vitdsi.backbones.efficientnet:EfficientNetLite0",
}
"""The backbones by name, as "module:Class". They are imported when they are used."""

_TRANSFORMERS = "vitdsi.backbones.transformers:transformers_backbone"


def check_backbone(name: str) -> None:
    """Raise ConfigError unless a backbone is registered as `name`, or the name has the form of a model or folder."""
    from vitdsi.backbones.checkpoint import is_checkpoint_name

    if not is_checkpoint_name(name):
        choose(
            {**BACKBONES, "a model of transformers, such as facebook/dinov2-small": ""},
            "model.backbone",
            name,
        )


def backbone_named(name: str) -> Backbone:
    """Make the backbone of this name, on the CPU.

    Args:
        name: a name in `BACKBONES`; otherwise a model of `transformers`, by its name on the hub or by its folder.

    Raises:
        ConfigError: there is no such backbone.
        UsageError: it needs a library that is not installed, or the hub cannot be reached.
    """
    made: Backbone
    if name in BACKBONES:
        made = resolve_name(BACKBONES[name])()
    else:
        check_backbone(name)
        made = resolve_name(_TRANSFORMERS)(name)
    return made
