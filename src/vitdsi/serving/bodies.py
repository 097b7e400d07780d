"""Bodies of requests: one image as it is, or images in a form."""

from __future__ import annotations

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from vitdsi.serving.errors import ApiError

__all__ = ["images_of", "one_image"]

_FORM = "multipart/form-data"
_MAX_FIELDS = 16  # of a form, beside its files


def _kind(request: Request) -> str:
    """Return the media type of a body: an image, a form, or bytes of any kind."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not (kind.startswith("image/") or kind in (_FORM, "application/octet-stream")):
        shown = repr(kind[:60]) if kind else "missing"
        raise ApiError(415, f"the Content-Type is {shown}; send image/jpeg or another image, or {_FORM}")
    return kind


async def one_image(request: Request) -> bytes:
    """Return the encoded image of a search.

    Raises:
        ApiError: 415 for another type of body, 400 for a body without an image.
    """
    if _kind(request) == _FORM:
        async with _Form(request, max_files=1) as form:
            field = form.get("image")
            if not isinstance(field, UploadFile):
                raise ApiError(400, "the form has no file in its field 'image'")
            body = await field.read()
    else:
        body = await _raw(request)
    return _not_empty(body)


async def images_of(request: Request, image_id: str | None, max_files: int) -> list[tuple[str, bytes]]:
    """Return the name and the encoded file of each image that should be added.

    Raises:
        ApiError: 415 for another type of body, 400 for a body without an image or a name.
    """
    if _kind(request) != _FORM:
        if not image_id:
            raise ApiError(400, "name the image with ?image_id=NAME, such as album/photo.jpg")
        return [(image_id, _not_empty(await _raw(request)))]
    async with _Form(request, max_files=max_files) as form:
        files = [field for _, field in form.multi_items() if isinstance(field, UploadFile)]
        if not files:
            raise ApiError(400, "the form has no files")
        if image_id and len(files) > 1:
            raise ApiError(400, f"image_id names one image, but the form has {len(files)} files")
        return [(image_id or file.filename or "", _not_empty(await file.read())) for file in files]


def _not_empty(body: bytes) -> bytes:
    if not body:
        raise ApiError(400, "the image is empty; send the bytes of an image file")
    return body


async def _raw(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise ApiError(400, "the body ended too early") from error


class _Form:
    """The form in a body, whose temporary files are closed at the end of the block."""

    def __init__(self, request: Request, max_files: int) -> None:
        self._request, self._max_files = request, max_files
        self._form: FormData | None = None

    async def __aenter__(self) -> FormData:
        try:
            self._form = await self._request.form(max_files=self._max_files, max_fields=_MAX_FIELDS)
        except ClientDisconnect as error:
            raise ApiError(400, "the body ended too early") from error
        except ApiError:
            raise
        except HTTPException as error:  # what Starlette makes of a form that is broken
            raise ApiError(400, f"the form cannot be read: {error.detail}") from error
        return self._form

    async def __aexit__(self, *_: object) -> None:
        if self._form is not None:
            await self._form.close()
