"""The shapes of answers, for the description of the API."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

__all__ = ["ERRORS", "IMAGE_BODY", "Added", "Found", "Groups", "ImageItem", "Images", "Refused", "Removed"]


class Refused(BaseModel):
    """Why a request was refused."""

    error: str


class ImageItem(BaseModel):
    """An image of the index."""

    image_id: str
    id: int
    thumb: str
    metadata: dict[str, Any]


class Result(ImageItem):
    """An image that was found; see `vitdsi.SearchResult`."""

    rank: int
    score: float
    log_prob: float
    proven: bool
    region: list[float] | None
    inliers: int | None
    certain: bool
    outline: list[list[float]] | None


class Found(BaseModel):
    """The results of a search, and the generation of the index that they were found in."""

    results: list[Result]
    seconds: float
    generation: int


class Facet(BaseModel):
    """A value of a field, and how many images have it."""

    value: str | int | float
    count: int


class Images(BaseModel):
    """A page of the images for which a condition holds, their number, and counts of values among all of them."""

    total: int
    offset: int
    limit: int
    images: list[ImageItem]
    facets: dict[str, list[Facet]]
    generation: int


class Skipped(BaseModel):
    """An image that was not added."""

    image_id: str
    error: str


class Added(BaseModel):
    """What was added."""

    added: list[str]
    replaced: list[str]
    unchanged: int
    skipped: list[Skipped]
    images: int
    generation: int


class Removed(BaseModel):
    """What was removed."""

    removed: list[str]
    images: int
    generation: int


class Copy(BaseModel):
    """One of several copies of a picture."""

    image_id: str
    id: int
    thumb: str
    width: int | None
    height: int | None
    bytes: int | None
    time: str | None


class Group(BaseModel):
    """Copies of a picture, the one to keep, and why."""

    images: list[Copy]
    keep: str
    reason: str


class Groups(BaseModel):
    """All groups of near-identical images."""

    groups: list[Group]
    generation: int


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refused, "description": text}
    for status, text in {
        400: "The body is missing, cut or not a form.",
        401: "The token is missing or wrong.",
        403: "It is not allowed here.",
        404: "There is no such image.",
        413: "The body or the image is too large.",
        415: "The body is no image.",
        422: "A parameter is not valid, or the image cannot be read.",
        429: "Too many requests; try again after the seconds in Retry-After.",
        503: "The index cannot be used at present.",
        504: "It took too long.",
    }.items()
}

_FILE = {"type": "string", "format": "binary"}
IMAGE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": _FILE},
            "multipart/form-data": {"schema": {"type": "object", "properties": {"image": _FILE}}},
        },
    }
}
