"""Errors as answers: every refusal is a status and `{"error": "one sentence"}`."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from vitdsi.errors import ImageReadError, IndexFormatError, IndexLockedError, UsageError, VitdsiError

__all__ = ["ApiError", "answer", "busy", "from_vitdsi", "install"]

_RETRY_SECONDS = 1
_HTTP_MESSAGES = {
    404: "there is nothing at this address; /docs lists what there is",
    405: "this address does not take this method; /docs lists what there is",
}
_log = logging.getLogger("vitdsi.serving")


class ApiError(HTTPException):
    """A refusal.

    Args:
        status: the HTTP status.
        message: one sentence that says what was wrong and what to do.
        retry_after: seconds after which the client may try again, or None.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        headers = None if retry_after is None else {"retry-after": str(retry_after)}
        super().__init__(status, message, headers)


def busy(what: str) -> ApiError:
    """Return the refusal of a request for which there is no room at present."""
    return ApiError(429, f"{what}; try again in {_RETRY_SECONDS} s", retry_after=_RETRY_SECONDS)


def answer(error: HTTPException) -> JSONResponse:
    """Return the response of a refusal."""
    message = error.detail
    if not isinstance(error, ApiError):  # Starlette's own say no more than the name of the status
        message = _HTTP_MESSAGES.get(error.status_code, message)
    return JSONResponse({"error": message}, error.status_code, error.headers)


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
        assert isinstance(error, HTTPException)
        return answer(error)

    async def failed(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, VitdsiError)
        return answer(from_vitdsi(error))

    async def not_valid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return answer(ApiError(422, _sentence(error.errors()[0])))

    async def broken(_: Request, error: Exception) -> JSONResponse:
        _log.error("internal error", exc_info=error)
        return answer(ApiError(500, "internal error; the log of the server says more"))

    app.add_exception_handler(VitdsiError, failed)
    app.add_exception_handler(RequestValidationError, not_valid)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, broken)


def _sentence(error: dict[str, Any]) -> str:
    """Return what is wrong with a parameter as one sentence."""
    name = ".".join(str(part) for part in error["loc"][1:]) or "the request"
    given = error.get("input")
    shown = f" is {str(given)[:60]!r};" if isinstance(given, (str, int, float)) else ":"
    message = error["msg"].replace("Input should", "it should")
    return f"{name}{shown} {message[0].lower()}{message[1:]}"
