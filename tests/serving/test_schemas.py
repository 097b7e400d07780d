"""The shapes of answers."""

from __future__ import annotations

from fastapi.testclient import TestClient


def test_errors_have_one_shape_in_the_description(reading: TestClient) -> None:
    description = reading.get("/openapi.json").json()
    answers = description["paths"]["/v1/search"]["post"]["responses"]
    for status in ("400", "413", "415", "422", "429", "503", "504"):
        assert answers[status]["content"]["application/json"]["schema"]["$ref"].endswith("/Refused")


def test_the_body_of_a_search_is_an_image_or_a_form(reading: TestClient) -> None:
    description = reading.get("/openapi.json").json()
    body = description["paths"]["/v1/search"]["post"]["requestBody"]["content"]
    assert set(body) == {"image/*", "multipart/form-data"}
