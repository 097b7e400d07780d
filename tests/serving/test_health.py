"""Health checks."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from helpers_serving import PNG, client, refusal


def test_a_server_whose_searches_work_is_ready(reading: TestClient) -> None:
    assert reading.get("/healthz").json() == {"status": "alive"}
    assert reading.get("/readyz").json() == {"status": "ready", "loaded": True, "generation": 1}


def test_a_server_whose_searches_fail_is_alive_but_not_ready(
    dsi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    with client(dsi) as opened:
        monkeypatch.setattr("vitdsi.search.searcher.rank", fail)
        answer = opened.get("/readyz")
        assert "broken" in refusal(answer, 503)
        assert opened.get("/healthz").status_code == 200
        monkeypatch.undo()
        assert opened.get("/readyz").status_code == 200


def test_a_check_does_not_read_an_index_that_was_given_back(dsi: Path) -> None:
    with client(dsi) as opened:
        engine = opened.app.state.engine  # type: ignore[attr-defined]
        engine.unload()
        assert opened.get("/readyz").json() == {"status": "ready", "loaded": False}
        assert engine.holder.loaded is None
        assert opened.get("/v1/search?id=0").status_code == 200
        assert engine.holder.loaded is not None


def test_the_result_of_the_canary_is_remembered(dsi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitdsi.serving.health._CANARY_SECONDS", 600)
    with client(dsi) as opened:
        for _ in range(3):
            opened.get("/readyz")
        assert "vitdsi_batch_size_count 1.0" in opened.get("/metrics").text


def test_a_search_that_was_just_answered_stands_for_the_canary(
    dsi: Path, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitdsi.serving.health._CANARY_SECONDS", 600)
    with client(dsi) as opened:
        assert opened.post("/v1/search", content=photo, headers=PNG).status_code == 200
        assert opened.get("/readyz").json()["status"] == "ready"
        assert "vitdsi_batch_size_count 1.0" in opened.get("/metrics").text
