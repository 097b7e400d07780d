"""Pictures by HTTP: thumbnails and photos of indexed images. No proxy may keep them; the browser that asked may.

Their addresses have the number of an image, which another image may have later. So a browser asks each time whether its
copy is still right, but not for a thumbnail whose address names the content as well.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from vitdsi.serving.engine import Shared
from vitdsi.serving.errors import ApiError
from vitdsi.serving.pictures import MAX_SIDE
from vitdsi.serving.schemas import ERRORS
from vitdsi.serving.served import Served

__all__ = ["router"]

# A picture that is opened by itself may not load or run anything.
_HEADERS = {"cache-control": "private, no-cache", "content-security-policy": "default-src 'none'; sandbox"}
_LASTING = "private, max-age=3600"

router = APIRouter(tags=["pictures"], responses=ERRORS)


@router.get("/thumb/{number}", summary="Show a thumbnail", response_class=Response)
async def thumb(
    request: Request,
    engine: Shared,
    number: str,
    size: Annotated[int, Query(ge=1, le=MAX_SIDE, description="Pixels of the longer side.")] = 256,
    v: Annotated[
        str | None, Query(description="The content, as in addresses that this server gives.")
    ] = None,
) -> Response:
    """Return a JPEG of the image with this id."""
    served = await engine.served()
    which = _number(served, number)
    picture, of_file = await engine.picture(lambda: engine.pictures.thumbnail(served, which, size))
    headers = {**_HEADERS, "etag": f'"{blake2b(picture, digest_size=12).hexdigest()}"'}
    if of_file and v == served.version(which):
        headers["cache-control"] = _LASTING
    return _unless_known(request, Response(picture, media_type="image/jpeg", headers=headers))


@router.get("/photo/{number}", summary="Show a photo", response_class=FileResponse)
async def photo(request: Request, engine: Shared, number: str) -> Response:
    """Return the file of the image with this id, if the server was given the folder."""
    served = await engine.served()
    image_id = served.state.image_ids[_number(served, number)]

    def found() -> FileResponse:
        path, media_type = engine.pictures.photo(image_id)
        return FileResponse(
            path,
            media_type=media_type,
            headers=_HEADERS,
            filename=path.name,
            content_disposition_type="inline",
            stat_result=path.stat(),  # it makes the ETag
        )

    return _unless_known(request, await engine.picture(found))


def _unless_known(request: Request, response: Response) -> Response:
    """Return a response, or 304 without a body if the browser has it already."""
    known = request.headers.get("if-none-match", "").split(",")
    if response.headers["etag"] not in [etag.strip().removeprefix("W/") for etag in known]:
        return response
    kept = ("cache-control", "content-security-policy", "etag")
    return Response(status_code=304, headers={name: response.headers[name] for name in kept})


def _number(served: Served, text: str) -> int:
    """Return the id of a live image. Only decimal digits are an id: a path is none."""
    if not (text.isascii() and text.isdecimal() and len(text) < 16 and served.has(int(text))):
        raise ApiError(404, f"there is no image {text[:60]!r} in this index")
    return int(text)
