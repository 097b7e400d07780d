"""Who may ask, and what browsers are told."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from helpers_serving import ADDRESS, PNG, TOKEN, client, refusal

from vitdsi.serving.security import COOKIE, same_token, session_of

_PRIVATE = (
    "/v1/info",
    "/v1/images",
    "/v1/search?id=0",
    "/v1/duplicates",
    "/thumb/0",
    "/photo/0",
    "/metrics",
    "/docs",
)


@pytest.fixture(scope="module")
def guarded(dsi: Path, photos: Path) -> Iterator[TestClient]:
    with client(dsi, images=photos, token=TOKEN, hosts=("photos.example.org",)) as opened:
        yield opened


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "[", "127.0.0.1@evil.example"]
)
def test_a_host_that_is_not_a_name_of_the_server_is_refused(reading: TestClient, host: str) -> None:
    answer = reading.get("/v1/info", headers={"host": host})
    assert "--allow-host" in refusal(answer, 403)


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
def test_names_of_the_loopback_address_are_answered(reading: TestClient, host: str) -> None:
    assert reading.get("/v1/info", headers={"host": host}).status_code == 200


def test_a_name_that_was_allowed_is_answered(guarded: TestClient) -> None:
    headers = {"host": "photos.example.org", "authorization": f"Bearer {TOKEN}"}
    assert guarded.get("/v1/info", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8001"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_other_sites_cannot_search_or_change(reading: TestClient, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/v1/search"), ("POST", "/v1/images"), ("DELETE", "/v1/images/0")):
        assert "other sites" in refusal(reading.request(method, path, headers=headers), 403)


def test_the_own_page_can_search(reading: TestClient, photo: bytes) -> None:
    headers = {"origin": ADDRESS, "sec-fetch-site": "same-origin", **PNG}
    assert reading.post("/v1/search", content=photo, headers=headers).status_code == 200


def test_other_origins_are_told_nothing(reading: TestClient) -> None:
    answer = reading.get("/v1/info", headers={"origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", _PRIVATE)
def test_everything_about_the_collection_needs_the_token(guarded: TestClient, path: str) -> None:
    refusal(guarded.get(path), 401)
    refusal(guarded.get(path, headers={"authorization": "Bearer wrong"}), 401)
    refusal(guarded.get(path, headers={"authorization": f"Basic {TOKEN}"}), 401)
    refusal(guarded.get(f"{path}{'&' if '?' in path else '?'}token={TOKEN}"), 401)
    assert guarded.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/static/../v1/info", "/static/%2e%2e/v1/info", "//v1/info", "/healthz/../v1/info"]
)
def test_a_detour_does_not_lead_around_the_token(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code in (401, 404)


def test_the_page_and_health_checks_need_no_token(guarded: TestClient) -> None:
    assert guarded.get("/healthz").status_code == 200
    assert guarded.get("/readyz").status_code == 200
    assert guarded.get("/").status_code in (200, 404)  # 404 where the page is not installed


def test_the_token_is_exchanged_for_a_cookie_that_scripts_cannot_read(guarded: TestClient) -> None:
    answer = guarded.post("/v1/login", json={"token": TOKEN})
    cookie = SimpleCookie(answer.headers["set-cookie"])[COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "strict", "/")
    assert TOKEN not in answer.headers["set-cookie"]
    assert guarded.get("/thumb/0").status_code == 200  # with the cookie
    guarded.post("/v1/logout")
    refusal(guarded.get("/thumb/0"), 401)


def test_a_wrong_token_gets_no_cookie(guarded: TestClient) -> None:
    answer = guarded.post("/v1/login", json={"token": "wrong"})
    refusal(answer, 401)
    assert "set-cookie" not in answer.headers
    for body in (b"", b"[]", b"{}", b'{"token": 5}', b"\xff"):
        refusal(guarded.post("/v1/login", content=body), 400)


@pytest.mark.parametrize("cookie", [f"{COOKIE}=", f"{COOKIE}=wrong", f"{COOKIE}={TOKEN}", "=;=", "a\x01=b"])
def test_a_wrong_cookie_is_refused(guarded: TestClient, cookie: str) -> None:
    refusal(guarded.get("/v1/info", headers={"cookie": cookie}), 401)


def test_tokens_are_compared_in_constant_time(guarded: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def noting(first: bytes, second: bytes) -> bool:
        compared.append((first, second))
        return compare(first, second)

    monkeypatch.setattr(hmac, "compare_digest", noting)
    guarded.get("/v1/info", headers={"authorization": "Bearer wrong"})
    guarded.get("/v1/info", headers={"cookie": f"{COOKIE}=wrong"})
    guarded.post("/v1/login", json={"token": "wrong"})
    assert [second for _, second in compared] == [
        TOKEN.encode(),
        session_of(TOKEN).encode(),
        TOKEN.encode(),
    ]


@pytest.mark.parametrize("given", ["", "\u00e9", "\udcff", TOKEN + "x", TOKEN[:-1]])
def test_another_token_is_not_the_same(given: str) -> None:
    assert not same_token(given, TOKEN)
    assert same_token(TOKEN, TOKEN)


@pytest.mark.parametrize("path", ["/", "/v1/info", "/nothing", "/docs", "/static/nothing"])
def test_every_answer_has_a_strict_policy(reading: TestClient, path: str) -> None:
    headers = reading.get(path).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["img-src"] == "'self' blob: data:"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/v1/info", "/v1/images", "/nothing"])
def test_no_proxy_and_no_browser_may_keep_what_is_private(reading: TestClient, path: str) -> None:
    assert reading.get(path).headers["cache-control"] == "private, no-store"


def test_no_proxy_may_keep_pictures(reading: TestClient) -> None:
    for address in ("/thumb/0", "/photo/0", reading.get("/v1/images/0").json()["thumb"]):
        assert "private" in reading.get(address).headers["cache-control"].split(", ")
