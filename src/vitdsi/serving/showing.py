"""Pictures by HTTP: thumbnails and photos of indexed images. No proxy or browser may keep them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse

from vitdsi.serving.engine import Shared
from vitdsi.serving.errors import ApiError
from vitdsi.serving.pictures import MAX_SIDE
from vitdsi.serving.schemas import ERRORS
from vitdsi.serving.served import Served

__all__ = ["router"]

# A picture that is opened by itself may not load or run anything.
_HEADERS = {"cache-control": "private, no-store", "content-security-policy": "default-src 'none'; sandbox"}

router = APIRouter(tags=["pictures"], responses=ERRORS)


@router.get("/thumb/{number}", summary="Show a thumbnail", response_class=Response)
async def thumb(
    engine: Shared,
    number: str,
    size: Annotated[int, Query(ge=1, le=MAX_SIDE, description="Pixels of the longer side.")] = 256,
) -> Response:
    """Return a JPEG of the image with this id."""
    served = await engine.served()
    which = _number(served, number)
    picture = await engine.picture(lambda: engine.pictures.thumbnail(served, which, size))
    return Response(picture, media_type="image/jpeg", headers=_HEADERS)


@router.get("/photo/{number}", summary="Show a photo", response_class=FileResponse)
async def photo(engine: Shared, number: str) -> FileResponse:
    """Return the file of the image with this id, if the server was given the folder."""
    served = await engine.served()
    image_id = served.state.image_ids[_number(served, number)]
    path, media_type = await engine.picture(lambda: engine.pictures.photo(image_id))
    return FileResponse(
        path, media_type=media_type, headers=_HEADERS, filename=path.name, content_disposition_type="inline"
    )


def _number(served: Served, text: str) -> int:
    """Return the id of a live image. Only decimal digits are an id: a path is none."""
    if not (text.isascii() and text.isdecimal() and len(text) < 16 and served.has(int(text))):
        raise ApiError(404, f"there is no image {text[:60]!r} in this index")
    return int(text)
