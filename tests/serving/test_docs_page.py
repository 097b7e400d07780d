"""The description of the API, without scripts."""

from __future__ import annotations

from fastapi.testclient import TestClient

from vitdsi.serving.docs_page import docs_page


def test_every_route_is_described(reading: TestClient) -> None:
    page = reading.get("/docs").text
    description = reading.get("/openapi.json").json()
    for path in ("/v1/search", "/v1/images", "/v1/duplicates", "/thumb/{number}", "/metrics"):
        assert path in description["paths"]
        assert path in page
    assert "<script" not in page
    assert "min_score" in page


def test_text_is_escaped() -> None:
    info = {"title": "<script>", "version": "1", "description": "&"}
    operation = {"summary": "<b>", "parameters": [{"name": '"', "in": "query"}]}
    page = docs_page({"info": info, "paths": {"/<i>": {"get": operation}}})
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<i>" not in page
