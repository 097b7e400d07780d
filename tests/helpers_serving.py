"""A small index behind the application; shared by the tests of the server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from vitdsi.serving import create_app

ADDRESS = "http://127.0.0.1:8000"
TOKEN = "a token that nobody guesses"
PNG = {"content-type": "image/png"}


@contextlib.contextmanager
def client(index: Path, **options: Any) -> Iterator[TestClient]:
    """A client of a running application; errors of the server become answers."""
    options = {"workers": 1, "device": "cpu", **options}
    with TestClient(create_app(index, **options), base_url=ADDRESS, raise_server_exceptions=False) as opened:
        yield opened


def names(answer: Any) -> list[str]:
    """The image_ids of the results of a search."""
    assert answer.status_code == 200, answer.text
    return [result["image_id"] for result in answer.json()["results"]]


def refusal(answer: Any, status: int) -> str:
    """The sentence of a refusal with this status."""
    assert answer.status_code == status, answer.text
    (name,) = answer.json()
    assert name == "error"
    sentence: str = answer.json()["error"]
    return sentence
