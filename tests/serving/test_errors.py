"""Errors of the library as answers."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from helpers_serving import refusal

from vitdsi.errors import ImageReadError, IndexFormatError, IndexLockedError, UsageError, VitdsiError
from vitdsi.serving.errors import busy, from_vitdsi


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ImageReadError("<bytes>", "not an image"), 422),
        (ImageReadError("<bytes>", "9 x 9 pixels are more than the limit of 8"), 413),
        (UsageError("no"), 422),
        (IndexLockedError("later"), 503),
        (IndexFormatError("broken"), 503),
        (VitdsiError("other"), 500),
    ],
)
def test_an_error_of_the_library_has_a_status(error: VitdsiError, status: int) -> None:
    assert from_vitdsi(error).status_code == status


def test_the_name_of_a_file_is_not_part_of_the_answer() -> None:
    assert "/tmp" not in from_vitdsi(ImageReadError("/tmp/private.jpg", "not an image")).detail


def test_a_refusal_for_lack_of_room_says_when_to_come_back() -> None:
    assert (busy("full").headers or {})["retry-after"] == "1"


def test_an_unknown_address_and_method_are_refused_with_a_sentence(reading: TestClient) -> None:
    assert "/docs" in refusal(reading.get("/nothing"), 404)
    answer = reading.put("/v1/search")
    assert "/docs" in refusal(answer, 405)
    assert answer.headers["allow"]


def test_a_parameter_that_is_not_valid_is_named(reading: TestClient) -> None:
    assert refusal(reading.get("/v1/images?limit=many"), 422).startswith("limit is 'many'; it should be")


def test_an_unexpected_error_reveals_nothing(reading: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("/home/somebody/secret")

    monkeypatch.setattr("vitdsi.serving.collection.page_of_images", fail)
    assert "secret" not in refusal(reading.get("/v1/images"), 500)
    assert refusal(reading.get("/v1/images"), 500).startswith("internal error")
