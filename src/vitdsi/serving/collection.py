"""The collection by HTTP: its images, pages of them with facets, additions and removals, and a summary."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from vitdsi.collection.info import info
from vitdsi.search.browse import facets as count_values
from vitdsi.search.browse import page_of_images
from vitdsi.serving.bodies import images_of
from vitdsi.serving.changes import add_images, remove_images
from vitdsi.serving.engine import Engine, Shared, within
from vitdsi.serving.errors import ApiError
from vitdsi.serving.schemas import ERRORS, IMAGE_BODY, Added, ImageItem, Images, Removed

__all__ = ["router"]

_MAX_PAGE = 1000  # images
_MAX_FIELDS = 20
_MAX_VALUES = 100  # of a field, the most frequent ones

router = APIRouter(tags=["collection"], responses=ERRORS)


@router.get("/v1/images", response_model=Images, summary="List images, with facets")
async def images(
    engine: Shared,
    offset: Annotated[int, Query(ge=0, description="How many images to skip.")] = 0,
    limit: Annotated[int, Query(ge=0, le=_MAX_PAGE, description="How many images to list.")] = 100,
    where: Annotated[str | None, Query(description="A condition on metadata, such as: year = 2019")] = None,
    facets: Annotated[
        str, Query(description="Fields to count the values of, with commas between them.")
    ] = "",
) -> dict[str, Any]:
    """List the images for which a condition holds, by id, and count values among all of them."""
    fields = list(dict.fromkeys(field for field in facets.split(",") if field))
    if len(fields) > _MAX_FIELDS:
        raise ApiError(422, f"facets has {len(fields)} fields; give at most {_MAX_FIELDS}")
    served = await engine.served()

    def page() -> dict[str, Any]:
        condition = where or None
        found = page_of_images(served.state, condition, offset=offset, limit=limit)
        counted = count_values(served.state, fields, condition, limit=_MAX_VALUES) if fields else []
        return {
            "total": found.total,
            "offset": offset,
            "limit": limit,
            "images": [served.image(image.id, image.facts) for image in found.images],
            "facets": {
                field: [{"value": value, "count": count} for value, count in facet.values]
                for field, facet in zip(fields, counted, strict=True)
            },
            "generation": served.generation,
        }

    return await engine.picture(page)


@router.get("/v1/images/{image_id:path}", response_model=ImageItem, summary="Describe an image")
async def image(engine: Shared, image_id: str) -> dict[str, Any]:
    """Describe one image, given as image_id or as id."""
    served = await engine.served()
    return served.image(served.number(image_id))


@router.post("/v1/images", response_model=Added, summary="Add images", openapi_extra=IMAGE_BODY)
async def add(
    request: Request,
    engine: Shared,
    image_id: Annotated[str | None, Query(description="The name of the image, if the body is one.")] = None,
    replace: Annotated[bool, Query(description="Replace images whose content changed.")] = False,
) -> dict[str, Any]:
    """Add an image (the body), or the files of a form under their names.

    Images are indexed and not kept as files: put them into the folder of the photos as well if they should be seen.
    """
    _check_writable(engine)
    settings = engine.settings
    files = await images_of(request, image_id, settings.max_uploads)
    await engine.served()
    work = engine.change(
        lambda: add_images(engine.holder, files, replace_changed=replace, max_pixels=settings.max_pixels)
    )
    served, result = await within(settings.change_deadline, request, work, engine.metrics)
    return {
        "added": result.image_ids,
        "replaced": result.replaced,
        "unchanged": result.unchanged,
        "skipped": [{"image_id": error.path, "error": error.reason} for error in result.skipped],
        "images": len(served.live),
        "generation": served.generation,
    }


@router.delete("/v1/images/{image_id:path}", response_model=Removed, summary="Remove an image")
async def remove(request: Request, engine: Shared, image_id: str) -> dict[str, Any]:
    """Remove an image from the index. Its file is not deleted."""
    _check_writable(engine)
    await engine.served()
    work = engine.change(lambda: remove_images(engine.holder, image_id))
    served, removed = await within(engine.settings.change_deadline, request, work, engine.metrics)
    return {"removed": [removed], "images": len(served.live), "generation": served.generation}


def _check_writable(engine: Engine) -> None:
    if not engine.settings.writable:
        raise ApiError(403, "this server does not change its index; start it with --writable if it should")


@router.get("/v1/info", summary="Summarise the index and the server")
async def summary(request: Request, engine: Shared) -> dict[str, Any]:
    """Summarise the index, and say what the server allows."""
    served, settings = await engine.served(), engine.settings
    facts = await engine.picture(lambda: info(served.state, settings.index))
    return {
        **facts,
        "name": settings.index.absolute().name,
        "version": request.app.version,
        "generation": served.generation,
        "fields": facts["metadata"],
        "writable": settings.writable,
        "verify": served.state.keypoints is not None,
        "photos": settings.images is not None,
        "duplicates": served.state.compares_copies,
        "min_score": served.state.report.calibration.min_score,
        "limits": {
            "body_bytes": settings.max_body_bytes,
            "pixels": settings.max_pixels,
            "k": settings.max_results,
            "uploads": settings.max_uploads,
            "page": _MAX_PAGE,
        },
    }
