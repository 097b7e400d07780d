"""The application as a whole: the page, swaps of the index, idle memory, the end."""

from __future__ import annotations

import gc
import time
import weakref
from pathlib import Path

import pytest
from helpers_cli import run
from helpers_serving import PNG, client, names

from vitdsi.errors import UsageError
from vitdsi.serving import app as apps


def test_the_page_and_its_files_are_asked_for_again_when_they_changed(
    dsi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "index.html").write_text("<!doctype html><p>page", "utf-8")
    (tmp_path / "app.js").write_text("export {}", "utf-8")
    monkeypatch.setattr(apps, "STATIC", tmp_path)
    with client(dsi) as opened:
        page, script = opened.get("/"), opened.get("/static/app.js")
        assert "page" in page.text
        assert "javascript" in script.headers["content-type"]
        for answer in (page, script):
            assert answer.headers["cache-control"] == "no-cache"
            assert answer.headers["etag"]
        again = opened.get("/static/app.js", headers={"if-none-match": script.headers["etag"]})
        assert again.status_code == 304


def test_an_index_that_another_process_changes_is_swapped_in(copied: Path, photo: bytes) -> None:
    with client(copied, poll_seconds=0.01) as opened:
        first = opened.post("/v1/search?k=12", content=photo, headers=PNG)
        assert run("remove", copied, names(first)[0]).exit_code == 0
        later = first
        for _ in range(1000):
            later = opened.post("/v1/search?k=12", content=photo, headers=PNG)
            assert names(later) == (names(first) if later.json()["generation"] == 1 else names(later))
            if later.json()["generation"] == 2:
                break
            time.sleep(0.01)
        assert names(first)[0] not in names(later)
        assert len(names(later)) == 11


def test_memory_is_given_back_when_nobody_asks(dsi: Path) -> None:
    with client(dsi, poll_seconds=0.01, idle_unload=0.02) as opened:
        holder = opened.app.state.engine.holder  # type: ignore[attr-defined]
        for _ in range(1000):
            if holder.loaded is None:
                break
            time.sleep(0.01)
        assert holder.loaded is None
        assert "vitdsi_images 0.0" in opened.get("/metrics").text
        assert opened.get("/v1/info").json()["images"] == 12


def test_nothing_holds_the_memory_of_an_index_that_was_given_back(dsi: Path, photo: bytes) -> None:
    with client(dsi) as opened:
        engine = opened.app.state.engine  # type: ignore[attr-defined]
        for path in ("/v1/search?id=0&where=width=48", "/v1/duplicates", "/readyz", "/thumb/0", "/v1/images"):
            assert opened.get(path).status_code == 200
        assert opened.post("/v1/search", content=photo, headers=PNG).status_code == 200
        model = weakref.ref(engine.holder.loaded.state.model)
        engine.unload()
        gc.collect()
        assert model() is None


def test_a_server_without_an_index_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such index"), client(tmp_path / "none.dsi"):
        pass
