"""The description of the API as one HTML page without scripts, so that it needs no other host."""

from __future__ import annotations

from html import escape
from typing import Any

__all__ = ["docs_page"]


def docs_page(description: dict[str, Any]) -> str:
    """Return a page for an OpenAPI description."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>{_text(description['info']['title'])}: HTTP API</title>",
        f"<h1>{_text(description['info']['title'])} {_text(description['info']['version'])}: HTTP API</h1>",
        f"<p>{_text(description['info'].get('description', ''))}</p>",
        '<p>The same for programs: <a href="/openapi.json">openapi.json</a>. Errors are'
        ' <code>{"error": "one sentence"}</code>.</p>',
    ]
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            parts += _operation(path, method, operation)
    return "\n".join(parts)


def _operation(path: str, method: str, operation: dict[str, Any]) -> list[str]:
    parts = [
        f"<h2><code>{_text(method.upper())} {_text(path)}</code></h2>",
        f"<p><strong>{_text(operation.get('summary', ''))}.</strong> {_text(operation.get('description', ''))}</p>",
    ]
    rows = [
        f"<li><code>{_text(parameter['name'])}</code> ({_text(parameter['in'])}):"
        f" {_text(parameter.get('description', 'part of the path'))}"
        for parameter in operation.get("parameters", ())
    ]
    rows += [
        f"<li>body: <code>{_text(kind)}</code>"
        for kind in operation.get("requestBody", {}).get("content", {})
    ]
    return [*parts, "<ul>", *rows, "</ul>"] if rows else parts


def _text(value: object) -> str:
    return escape(str(value).strip())
