"""Errors as answers: every refusal is a status and `{"error": "one sentence"}`."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from vitdsi.errors import ImageReadError, IndexFormatError, IndexLockedError, UsageError, VitdsiError

__all__ = ["ApiError", "answer", "busy", "install"]

_RETRY_SECONDS = 1
_log = logging.getLogger("vitdsi.serving")


class ApiError(Exception):
    """A refusal.

    Attributes:
        status: the HTTP status.
        message: one sentence that says what was wrong and what to do.
        retry_after: seconds after which the client may try again, or None.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after


def busy(what: str) -> ApiError:
    """Return the refusal of a request for which there is no room at present."""
    return ApiError(429, f"{what}; try again in {_RETRY_SECONDS} s", retry_after=_RETRY_SECONDS)


def answer(error: ApiError) -> JSONResponse:
    """Return the response of a refusal."""
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    return JSONResponse({"error": error.message}, error.status, headers)


def from_vitdsi(error: VitdsiError) -> ApiError:
    """Return the refusal that an error of the library stands for."""
    text = " ".join(str(error).split())
    if isinstance(error, ImageReadError):
        too_large = "pixels" in error.reason
        return ApiError(413 if too_large else 422, f"the image cannot be read: {error.reason}")
    if isinstance(error, UsageError):
        return ApiError(422, text)
    if isinstance(error, (IndexLockedError, IndexFormatError)):
        return ApiError(503, text, retry_after=_RETRY_SECONDS)
    return ApiError(500, text)


def install(app: FastAPI) -> None:
    """Let all errors of an application be answered in this form."""

    async def refused(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return answer(error)

    async def failed(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, VitdsiError)
        return answer(from_vitdsi(error))

    async def not_valid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return answer(ApiError(422, _sentence(error.errors()[0])))

    async def not_found(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        response = answer(ApiError(error.status_code, _HTTP_MESSAGES.get(error.status_code, error.detail)))
        response.headers.update(error.headers or {})
        return response

    async def broken(_: Request, error: Exception) -> JSONResponse:
        _log.error("internal error", exc_info=error)
        return answer(ApiError(500, "internal error; the log of the server says more"))

    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(VitdsiError, failed)
    app.add_exception_handler(RequestValidationError, not_valid)
    app.add_exception_handler(HTTPException, not_found)
    app.add_exception_handler(Exception, broken)


_HTTP_MESSAGES = {
    404: "there is nothing at this address; /docs lists what there is",
    405: "this address does not take this method; /docs lists what there is",
}


def _sentence(error: dict[str, Any]) -> str:
    """Return what is wrong with a parameter as one sentence."""
    name = ".".join(str(part) for part in error["loc"][1:]) or "the request"
    given = error.get("input")
    shown = f" is {str(given)[:60]!r};" if isinstance(given, (str, int, float)) else ":"
    message = error["msg"].replace("Input should", "it should")
    return f"{name}{shown} {message[0].lower()}{message[1:]}"
