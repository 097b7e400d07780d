from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitdsi.cli.contact_sheet import Result, Row, write_contact_sheet
from vitdsi.errors import UsageError

_VOID = {"img", "meta"}


class _Page(HTMLParser):
    """Collects tags and text, and insists that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(data.strip())

    def attributes(self, tag: str, name: str) -> list[str | None]:
        return [attrs.get(name) for found, attrs in self.tags if found == tag]


def _photo(path: Path, width: int = 300, height: int = 150) -> Path:
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def _read(path: Path) -> _Page:
    return _Page(path.read_text(encoding="utf-8"))


def test_page_shows_queries_and_ranked_results(tmp_path: Path) -> None:
    query, cat, dog = (_photo(tmp_path / name) for name in ("q.png", "cat.png", "dog.png"))
    results = [Result("pets/cat.png", cat, 0.8312, True), Result("pets/dog.png", dog, 0.00004, False)]
    out = tmp_path / "sheet.html"
    write_contact_sheet(
        out, [Row(query, results), Row(query, [Result("x", cat, 1.0)])], title="found", thumb=64
    )
    page = _read(out)
    assert page.attributes("li", "class") == ["hit", "miss", ""]
    expected = ["query", "q.png", "1 ✓", "0.831", "pets/cat.png", "2 ✗", "<0.001", "pets/dog.png"]
    start = page.text.index("query")
    assert page.text[start : start + len(expected)] == expected
    assert page.text[-3:] == ["1", "1.000", "x"]
    assert page.text.count("found") == 2  # <title> and <h1>


def test_outline_and_points_are_drawn_over_query_and_result(tmp_path: Path) -> None:
    query, cat = (_photo(tmp_path / name) for name in ("q.png", "cat.png"))
    result = Result("cat.png", cat, 0.9, points=[(0.5, 0.25)])
    corners = [(0.1, 0.1), (0.9, 0.1), (0.9, 0.8), (-0.1, 1.2)]
    out = tmp_path / "sheet.html"
    missing = Row(tmp_path / "none.png", [Result("dog", cat, 0.1)], corners)
    write_contact_sheet(out, [Row(query, [result], corners, [(0.2, 0.4)]), missing], title="t")
    page = _read(out)
    assert page.attributes("polygon", "points") == ["10.0,10.0 90.0,10.0 90.0,80.0 -10.0,120.0", ""]
    assert page.attributes("path", "d") == ["M20.0 40.0h0", "M50.0 25.0h0"]


def test_thumbnails_are_embedded_at_the_given_size(tmp_path: Path) -> None:
    out = tmp_path / "sheet.html"
    write_contact_sheet(out, [Row(_photo(tmp_path / "q.png"), [])], title="t", thumb=80)
    (source,) = _read(out).attributes("img", "src")
    assert source is not None
    kind, data = source.split(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert (image.format, image.size) == ("JPEG", (80, 40))


def test_page_loads_no_other_files(tmp_path: Path) -> None:
    out = tmp_path / "sheet.html"
    query = _photo(tmp_path / "q.png")
    write_contact_sheet(out, [Row(query, [Result("a", query, 0.5)])], title="t")
    page = _read(out)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe"})
    assert all((source or "").startswith("data:") for source in page.attributes("img", "src"))
    assert "http://" not in out.read_text() and "https://" not in out.read_text()


def test_names_and_title_are_escaped(tmp_path: Path) -> None:
    query = _photo(tmp_path / "a'\"&<b>.png")
    nasty = '"><script>alert(1)</script>.jpg'
    out = tmp_path / "sheet.html"
    write_contact_sheet(out, [Row(query, [Result(nasty, query, 0.5)])], title="<i>&")
    page = _read(out)
    assert "script" not in {tag for tag, _ in page.tags}
    assert nasty in page.text and query.name in page.text and page.text.count("<i>&") == 2
    assert nasty in page.attributes("span", "title")


def test_name_that_is_not_utf8_is_written_with_a_replacement(tmp_path: Path) -> None:
    query = _photo(tmp_path / "q.png")
    out = tmp_path / "sheet.html"
    write_contact_sheet(out, [Row(query, [Result("caf\udce9.jpg", query, 0.5)])], title="t")
    assert "caf?.jpg" in _read(out).text


def test_unreadable_image_is_shown_as_an_empty_box(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    out = tmp_path / "sheet.html"
    write_contact_sheet(out, [Row(broken, [Result("gone.jpg", tmp_path / "gone.jpg", 0.5)])], title="t")
    page = _read(out)
    assert page.text.count("no picture") == 2 and "gone.jpg" in page.text
    assert page.attributes("img", "src") == []


def test_page_without_queries_is_written(tmp_path: Path) -> None:
    out = tmp_path / "sheet.html"
    write_contact_sheet(out, [], title="t")
    assert "0 queries" in _read(out).text


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    out = tmp_path / "sheet.html"
    out.write_text("old")
    with pytest.raises(KeyError):
        write_contact_sheet(out, [Row(out, [Result("a", out, 0.5, "yes")])], title="t")  # type: ignore[arg-type]
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.html"]


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="create it first"):
        write_contact_sheet(tmp_path / "no" / "sheet.html", [], title="t")
    with pytest.raises(UsageError, match="is a folder"):
        write_contact_sheet(tmp_path, [], title="t")
    with pytest.raises(UsageError, match="thumb=8"):
        write_contact_sheet(tmp_path / "sheet.html", [], title="t", thumb=8)
