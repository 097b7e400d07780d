"""What a server may be told, and what it refuses to be told."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers_serving import TOKEN

from vitdsi.errors import UsageError
from vitdsi.serving.settings import ServerSettings, is_loopback

_INDEX = Path("photos.dsi")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("example.org", False),
    ],
)
def test_loopback_addresses_are_recognised(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("host", ["*", "photos.example.org"])
def test_a_server_with_another_name_than_loopback_needs_a_token(host: str) -> None:
    with pytest.raises(UsageError, match="needs a token"):
        ServerSettings(_INDEX, hosts=(host,))
    assert ServerSettings(_INDEX, hosts=(host,), token=TOKEN).token == TOKEN
    assert ServerSettings(_INDEX, hosts=("localhost",)).token is None


@pytest.mark.parametrize("token", ["", "short", "sixteen letters\u00e9"])
def test_a_weak_token_is_refused(token: str) -> None:
    with pytest.raises(UsageError, match="at least 16 ASCII characters"):
        ServerSettings(_INDEX, token=token)


def test_limits_are_positive() -> None:
    with pytest.raises(UsageError, match="max_batch is 0"):
        ServerSettings(_INDEX, max_batch=0)
