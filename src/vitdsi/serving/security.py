"""Who may ask: the names of the server, pages of other origins, tokens; and what browsers may do with answers."""

from __future__ import annotations

import hashlib
import hmac
import json
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vitdsi.serving.errors import ApiError, answer
from vitdsi.serving.settings import ANY_HOST, LOOPBACK, ServerSettings

__all__ = ["COOKIE", "Guard", "router", "same_token", "session_of"]

COOKIE = "vitdsi_session"
_OPEN_PATHS = ("/", "/healthz", "/readyz", "/v1/login")  # and /static/, which hold nothing of the collection
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_NOT_STORED = "private, no-store"
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

router = APIRouter(tags=["login"])


def same_token(given: str, token: str) -> bool:
    """Return whether two tokens are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())


def session_of(token: str) -> str:
    """Return the value of the cookie of clients that have sent the token. It does not reveal the token."""
    return hmac.new(token.encode(), b"vitdsi session", hashlib.sha256).hexdigest()


class Guard:
    """Refuses requests that may not be answered, and adds the headers that protect those who look at answers.

    - A `Host` that is not a name of this server is refused. Otherwise a page of another site could have its own name
      resolved to this machine, and read the collection (DNS rebinding).
    - Requests from pages of other origins may not change anything, nor start a search.
    - With a token, everything but the page itself and the health checks needs it.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._token = settings.token
        self._hosts = None if ANY_HOST in settings.hosts else {*LOOPBACK, *settings.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", _NOT_STORED)
            await send(message)

        refusal = self._refusal(scope)
        app = self._app if refusal is None else answer(refusal)
        await app(scope, receive, protected)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and _name_of(host) not in self._hosts:
            return ApiError(
                403,
                f"this server is not called {host[:100]!r}; start it with --allow-host NAME if it should be",
            )
        if scope["method"] not in _SAFE_METHODS and _from_another_site(headers, host):
            return ApiError(403, "requests from pages of other sites are refused")
        path = scope["path"]
        if self._token is None or path in _OPEN_PATHS or path.startswith("/static/"):
            return None
        if self._has_token(headers):
            return None
        return ApiError(401, "this server needs its token; send the header 'Authorization: Bearer TOKEN'")

    def _has_token(self, headers: Headers) -> bool:
        assert self._token is not None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and same_token(given.strip(), self._token):
            return True
        cookie = SimpleCookie()
        try:
            cookie.load(headers.get("cookie", ""))
        except CookieError:
            return False
        return COOKIE in cookie and same_token(cookie[COOKIE].value, session_of(self._token))


def _name_of(host: str) -> str:
    """Return the name or address in a `Host` header, in lower case; "" if it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _from_another_site(headers: Headers, host: str) -> bool:
    """Return whether a browser says that a request comes from a page of another origin."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    scheme, _, origin = headers.get("origin", f"http://{host}").partition("://")
    return scheme not in ("http", "https") or origin.lower() != host.lower()


@router.post("/v1/login", summary="Exchange the token for a cookie")
async def login(request: Request) -> JSONResponse:
    """Take `{"token": "..."}`, and set a cookie that scripts cannot read and that lasts until the browser is closed."""
    token = request.app.state.engine.settings.token
    try:
        given = json.loads(await request.body())["token"]
    except (ValueError, KeyError, TypeError):
        given = None
    if not isinstance(given, str):
        raise ApiError(400, 'the body must be JSON: {"token": "..."}')
    response = JSONResponse({"ok": True})
    if token is None:
        return response
    if not same_token(given, token):
        raise ApiError(401, "this is not the token of this server")
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, session_of(token), httponly=True, samesite="strict", secure=secure, path="/")
    return response


@router.post("/v1/logout", summary="Delete the cookie")
async def logout() -> JSONResponse:
    """Delete the cookie that `/v1/login` has set."""
    response = JSONResponse({"ok": True})
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
    return response
