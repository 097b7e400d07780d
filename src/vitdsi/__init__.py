"""vitdsi: image search where the index is the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vitdsi.errors import VitdsiError

if TYPE_CHECKING:
    from vitdsi.config import IndexConfig
    from vitdsi.index import ImageIndex, SearchResult

__all__ = ["ImageIndex", "IndexConfig", "SearchResult", "VitdsiError", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import vitdsi` does not wait for torch."""
    if name == "IndexConfig":
        from vitdsi.config import IndexConfig

        return IndexConfig
    if name in ("ImageIndex", "SearchResult"):
        import vitdsi.index

        return getattr(vitdsi.index, name)
    raise AttributeError(f"module 'vitdsi' has no attribute {name!r}")
