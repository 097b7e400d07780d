"""vitdsi: image search where the index is the model."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from vitdsi.errors import VitdsiError

if TYPE_CHECKING:
    from vitdsi.collection.add import AddResult
    from vitdsi.config import IndexConfig, load_config
    from vitdsi.index import ImageIndex
    from vitdsi.search.options import SearchOptions, SearchResult

__all__ = [
    "AddResult",
    "ImageIndex",
    "IndexConfig",
    "SearchOptions",
    "SearchResult",
    "VitdsiError",
    "__version__",
    "load_config",
]
__version__ = "0.1.0"

_LAZY = {
    "AddResult": "vitdsi.collection.add",
    "ImageIndex": "vitdsi.index",
    "IndexConfig": "vitdsi.config",
    "SearchOptions": "vitdsi.search.options",
    "SearchResult": "vitdsi.search.options",
    "load_config": "vitdsi.config",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import vitdsi` does not wait for torch."""
    if name in _LAZY:
        return resolve_name(f"{_LAZY[name]}:{name}")
    raise AttributeError(f"module 'vitdsi' has no attribute {name!r}")
