"""Serving: an index behind HTTP, with a page to search it from a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitdsi.errors import UsageError

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["create_app"]


def create_app(index_path: str | Path, **options: Any) -> FastAPI:
    """Make an ASGI application that serves an index.

    Args:
        index_path: the folder of the index.
        options: the other attributes of `vitdsi.serving.settings.ServerSettings`, such as `images`, `token` and
            `writable`.

    Raises:
        UsageError: an option is not valid, or the packages of the extra `serve` are not installed.
        IndexFormatError: the folder is not an index.
    """
    try:
        from vitdsi.serving.app import application
    except ModuleNotFoundError as error:
        raise UsageError(
            f"serving needs the package {error.name}; install it with: pip install 'vitdsi[serve]'"
        ) from error
    from vitdsi.serving.settings import ServerSettings

    return application(ServerSettings(Path(index_path), **options))
