"""Bodies: raw images, forms, and what is neither."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from helpers_serving import PNG, names, refusal


def test_an_image_is_taken_raw_and_in_a_form(reading: TestClient, photo: bytes) -> None:
    raw = reading.post("/v1/search", content=photo, headers=PNG)
    octets = reading.post("/v1/search", content=photo, headers={"content-type": "application/octet-stream"})
    form = reading.post("/v1/search", files={"image": ("a.png", photo)})
    assert names(raw) == names(form) == names(octets)


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
def test_another_type_of_body_is_refused(reading: TestClient, photo: bytes, kind: str) -> None:
    answer = reading.post("/v1/search", content=photo, headers={"content-type": kind})
    assert "image/jpeg" in refusal(answer, 415)


def test_an_address_is_not_fetched(reading: TestClient) -> None:
    """There is no way to have the server fetch a URL: neither as a body, nor as a field, nor as a parameter."""
    url = "http://127.0.0.1:1/photo.jpg"
    refusal(reading.post("/v1/search", json={"url": url}), 415)
    refusal(reading.post("/v1/search", data={"image": url}, files={"other": b"x"}), 400)
    refusal(reading.post("/v1/search", content=url, headers={"content-type": "image/jpeg"}), 422)
    refusal(reading.get("/v1/search", params={"id": url}), 404)


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"", PNG),
        (b"", {"content-type": "multipart/form-data"}),
        (b"nonsense", {"content-type": "multipart/form-data; boundary=x"}),
        (
            b'--x\r\nContent-Disposition: form-data; name="ima',
            {"content-type": "multipart/form-data; boundary=x"},
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\ntext\r\n--x--\r\n',
            {"content-type": "multipart/form-data; boundary=x"},
        ),
    ],
)
def test_a_body_without_an_image_is_refused(
    reading: TestClient, content: bytes, headers: dict[str, str]
) -> None:
    refusal(reading.post("/v1/search", content=content, headers=headers), 400)


def test_a_search_takes_one_image(reading: TestClient, photo: bytes) -> None:
    files = [("image", ("a.png", photo)), ("image", ("b.png", photo))]
    assert "Maximum number of files" in refusal(reading.post("/v1/search", files=files), 400)
