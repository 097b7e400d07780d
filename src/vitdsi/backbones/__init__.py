"""Backbones: frozen networks that turn photos into features, and the cache of those features."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from vitdsi.registry import choose

if TYPE_CHECKING:
    from vitdsi.backbones.base import Backbone

__all__ = ["BACKBONES", "backbone_named"]

BACKBONES = {
    "efficientnet-lite0": "vitdsi.backbones.efficientnet:EfficientNetLite0",
}
"""The backbones by name, as "module:Class". They are imported when they are used."""


def backbone_named(name: str) -> Backbone:
    """Make the backbone of this name, on the CPU.

    Raises:
        ConfigError: there is no such backbone.
    """
    backbone: Backbone = resolve_name(choose(BACKBONES, "model.backbone", name))()
    return backbone
