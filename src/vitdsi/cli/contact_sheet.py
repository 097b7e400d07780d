"""Contact sheets: query images beside their results, in one self-contained HTML file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from vitdsi.errors import ImageReadError, UsageError
from vitdsi.files import write_atomically
from vitdsi.photos.decode import decode

if TYPE_CHECKING:
    from vitdsi.search.options import SearchResult

__all__ = ["Result", "Row", "row_of", "write_contact_sheet"]

Points: TypeAlias = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Result:
    """One result.

    Attributes:
        image_id: the name of the image.
        path: its file.
        score: its probability.
        mark: whether the result is right, or None if that is unknown.
        points: positions in the image that were found in the query, as shares of its width and height.
    """

    image_id: str
    path: Path
    score: float
    mark: bool | None = None
    points: Points = ()


@dataclass(frozen=True)
class Row:
    """A query, an image file or a text, and its results, best first.

    Attributes:
        query: the file or the text.
        results: the results.
        outline: the corners in the query of an image that was found in it, as shares of its width and height.
        points: positions in the query that were found in that image.
    """

    query: Path | str
    results: Sequence[Result]
    outline: Points = ()
    points: Points = ()


def row_of(query: Path | str, results: Sequence[SearchResult], folder: Path) -> Row:
    """Return the row of a search among the images of a folder, with the proof of the first result in the query."""
    shown = [
        Result(r.image_id, folder / r.image_id, r.score, points=[match[2:] for match in r.matches])
        for r in results
    ]
    first = results[0].matches if results else ()
    outline = (results[0].outline if results else None) or ()
    return Row(query, shown, outline, [match[:2] for match in first])


def write_contact_sheet(path: Path, rows: Sequence[Row], *, title: str, thumb: int = 128) -> None:
    """Write a contact sheet to `path`, replacing an existing file.

    Args:
        path: the HTML file; its folder must exist.
        rows: the queries with their results. An image that cannot be read is shown as an empty box.
        title: the heading of the page.
        thumb: the side in pixels of the square that a thumbnail fits into.

    Raises:
        UsageError: the folder does not exist, `path` is a folder, or `thumb` is below 16.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise UsageError(f"{path}: the folder {path.parent} does not exist; create it first")
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; give the name of a file to write")
    if thumb < 16:
        raise UsageError(f"thumb={thumb}: thumbnails need at least 16 pixels")
    with write_atomically(path) as stream:
        for part in _page(rows, title, thumb):
            # File names that are not UTF-8 contain lone surrogates, which cannot be encoded.
            stream.write(part.encode("utf-8", errors="replace"))


def _page(rows: Sequence[Row], title: str, thumb: int) -> Iterator[str]:
    # The same image is often a result of several queries.
    picture = lru_cache(maxsize=1024)(lambda path: _picture(path, thumb))
    judged = any(result.mark is not None for row in rows for result in row.results)
    legend = ' · <span class="hit">✓ right</span> · <span class="miss">✗ wrong</span>' if judged else ""
    queries = f"{len(rows)} {'query' if len(rows) == 1 else 'queries'}"
    yield _HEAD.format(title=_text(title), style=_STYLE.replace("THUMB", f"{thumb}px"))
    yield f"<body>\n<header><h1>{_text(title)}</h1>\n<p>{queries}{legend}</p></header>\n<main>\n"
    for row in rows:
        if isinstance(row.query, str):
            name, shown = "", f'<div class="thumb none">{_text(row.query)}</div>'
        else:
            name, shown = _text(row.query.name), _marked(picture(row.query), row.points, row.outline)
        yield f'<section>\n<figure class="query">{shown}'
        yield f'<figcaption><b>query</b><span title="{_text(row.query)}">{name}</span></figcaption></figure>\n<ol>\n'
        for rank, result in enumerate(row.results, 1):
            yield _result(rank, result, _marked(picture(result.path), result.points))
        yield "</ol>\n</section>\n"
    yield "</main>\n</body>\n</html>\n"


def _result(rank: int, result: Result, picture: str) -> str:
    kind, sign = {None: ("", ""), True: ("hit", " ✓"), False: ("miss", " ✗")}[result.mark]
    name = _text(result.image_id)
    return (
        f'<li class="{kind}"><figure>{picture}<figcaption><b>{rank}{sign}</b><i>{_probability(result.score)}</i>'
        f'<span title="{name}">{name}</span></figcaption></figure></li>\n'
    )


def _probability(score: float) -> str:
    return "&lt;0.001" if 0 < score < 0.0005 else f"{score:.3f}"


def _picture(path: Path, thumb: int) -> str:
    try:
        image = decode(path, min_side=thumb)
    except ImageReadError as error:
        return f'<div class="thumb none" title="{_text(error.reason)}">no picture</div>'
    image.thumbnail((thumb, thumb))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    size = f'width="{image.width}" height="{image.height}"'
    return f'<div class="thumb"><div><img src="data:image/jpeg;base64,{data}" {size} alt=""></div></div>'


def _marked(picture: str, points: Points, outline: Points = ()) -> str:
    """Draw points and an outline, as shares of width and height, over a picture."""
    end = "</div></div>"
    if not (points or outline) or not picture.endswith(end):
        return picture
    dots = " ".join(f"M{100 * x:.1f} {100 * y:.1f}h0" for x, y in points)
    corners = " ".join(f"{100 * x:.1f},{100 * y:.1f}" for x, y in outline)
    drawing = f'<polygon points="{corners}"/><path d="{dots}"/>'
    return f'{picture.removesuffix(end)}<svg viewBox="0 0 100 100" preserveAspectRatio="none">{drawing}</svg>{end}'


def _text(value: object) -> str:
    return html.escape(str(value))


# The policy ensures that the page loads and runs nothing, whatever a file name contains.
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
"""

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f8; --card: #fff; --text: #16181d; --quiet: #626b78; --line: #e1e4e8;
  --hit: #1a8f4c; --miss: #d1343f; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1114; --card: #191c21; --text: #e8eaee; --quiet: #98a1af;
  --line: #2b3038; --hit: #3fbf75; --miss: #f2666f; } }
* { box-sizing: border-box; margin: 0; }
body { background: var(--page); color: var(--text); font: 13px/1.4 system-ui, sans-serif; padding: 24px; }
header, main { max-width: 1400px; margin: 0 auto; }
h1 { font-size: 20px; font-weight: 650; letter-spacing: -0.01em; }
header p { color: var(--quiet); margin: 2px 0 20px; }
section { display: flex; background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  margin-bottom: 12px; overflow: hidden; }
.query { flex: none; padding: 14px; border-right: 1px solid var(--line);
  background: color-mix(in srgb, var(--line) 35%, transparent); }
ol { display: flex; gap: 6px; list-style: none; padding: 8px; overflow-x: auto; }
li { padding: 6px; border-radius: 8px; border: 2px solid transparent; }
li.hit { border-color: var(--hit); }
li.miss { border-color: var(--miss); }
span.hit, .hit b { color: var(--hit); }
span.miss, .miss b { color: var(--miss); }
.thumb { width: THUMB; height: THUMB; display: grid; place-items: center; }
.thumb div { position: relative; overflow: hidden; border-radius: 4px; }
.thumb img { display: block; }
svg { position: absolute; inset: 0; width: 100%; height: 100%; fill: none; }
svg * { vector-effect: non-scaling-stroke; stroke: #ff2fa0; stroke-width: 2; }
svg path { stroke: #ffe14d; stroke-width: 3; stroke-linecap: round; }
.none { border: 1px dashed var(--quiet); border-radius: 4px; color: var(--quiet); }
figcaption { width: THUMB; margin-top: 6px; display: flex; flex-wrap: wrap; justify-content: space-between; }
figcaption span { flex: 0 0 100%; color: var(--quiet); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
figcaption i { font-style: normal; font-variant-numeric: tabular-nums; }
@media (max-width: 640px) { section { flex-direction: column; } .query { border-right: 0; } }
"""
