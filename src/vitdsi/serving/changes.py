"""Changes of the served index: adding images, removing them, and deciding to keep copies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from vitdsi.collection.add import AddResult, add
from vitdsi.collection.parts import GROWING
from vitdsi.collection.read import Collection, read_collection
from vitdsi.collection.remove import remove
from vitdsi.errors import ImageReadError, VitdsiError
from vitdsi.files import temporary_folder
from vitdsi.photos.decode import open_image
from vitdsi.search.decisions import keep_both
from vitdsi.search.filters import resolve_ids
from vitdsi.serving.errors import ApiError
from vitdsi.serving.holder import IndexHolder
from vitdsi.serving.pictures import is_inside
from vitdsi.serving.served import Served
from vitdsi.state import IndexState

__all__ = ["add_images", "keep_images", "remove_images"]

_MAX_NAME = 500  # characters of an image_id


def add_images(
    holder: IndexHolder, files: Sequence[tuple[str, bytes]], *, replace_changed: bool, max_pixels: int
) -> tuple[Served, AddResult]:
    """Add images to the index on disk, and serve the result.

    Args:
        files: the image_id and the encoded file of each image. In an index with classes, the first part of an image_id
            is the class.
        replace_changed: replace images whose content changed, instead of raising an error.
        max_pixels: images with more pixels are refused.

    Raises:
        ApiError: 422, a name is not valid.
        ImageReadError: the only image cannot be read.
        UsageError: as `vitdsi.collection.add.add`.
        IndexLockedError: another process is changing the index.
        VitdsiError: there is no room on the disk.
    """
    for name, _ in files:
        _check_name(name)
    result: AddResult | None = None

    def change(served: Served) -> IndexState:
        nonlocal result
        with _read(served, files, max_pixels) as given:
            if len(files) == 1 and given.skipped:
                raise given.skipped[0]
            state, result = add(served.state, given, served.reader, replace_changed=replace_changed)
        return state

    try:
        served = holder.change(change, GROWING)
    except OSError as error:
        raise VitdsiError(
            f"images cannot be stored while they are read ({error.strerror}); make room for temporary files"
        ) from error
    assert result is not None
    return served, result


def _check_name(name: str) -> None:
    if not is_inside(name) or not name.isprintable() or len(name) > _MAX_NAME:
        raise ApiError(
            422, f"the image cannot be called {name[:100]!r}; give a relative path such as album/photo.jpg"
        )


@contextmanager
def _read(served: Served, files: Sequence[tuple[str, bytes]], max_pixels: int) -> Iterator[Collection]:
    """Read encoded images as if they were files of a folder, so that they get facts and content hashes.

    The files exist inside this block: adding images reads them again, for their keypoints and for altered views.
    """
    names = [name for name, _ in files]
    labels = None
    if served.state.labels is not None:
        labels = [name.partition("/")[0] for name in names]
        if not all("/" in name for name in names):
            raise ApiError(422, "the images of this index have classes; call them CLASS/NAME")
    with temporary_folder() as folder:
        paths = [folder / f"{position:06d}" for position in range(len(files))]
        for path, (name, body) in zip(paths, files, strict=True):
            _check_pixels(name, body, max_pixels)
            path.write_bytes(body)
        given = read_collection(paths, labels, served.reader, by_folder=False).with_facts(None)
        name_of = {path.as_posix(): name for path, name in zip(paths, names, strict=True)}
        yield replace(
            given,
            image_ids=[name_of[image_id] for image_id in given.image_ids],
            skipped=tuple(ImageReadError(name_of[error.path], error.reason) for error in given.skipped),
            duplicates=(),
        )


def _check_pixels(name: str, body: bytes, max_pixels: int) -> None:
    try:
        with open_image(body) as (image, _):
            if image.width * image.height > max_pixels:
                raise ApiError(
                    413,
                    f"{name}: {image.width} x {image.height} pixels are more than the limit of {max_pixels}",
                )
    except ImageReadError:  # it is reported with the others that cannot be read
        pass


def remove_images(holder: IndexHolder, image_id: str) -> tuple[Served, str]:
    """Remove an image, given as image_id or id, from the index on disk, and serve the result.

    Returns the new state, and the image_id of the image.

    Raises:
        ApiError: 404, there is no such image.
        IndexLockedError: another process is changing the index.
    """
    removed = ""

    def change(served: Served) -> IndexState:
        nonlocal removed
        number = served.number(image_id)
        removed = served.name(number)
        return remove(served.state, resolve_ids(served.state, [number]))

    return holder.change(change, ("live",)), removed


def keep_images(holder: IndexHolder, images: Sequence[str]) -> list[str]:
    """Decide to keep all of these near-identical images, given as image_ids or ids; see `keep_both`.

    Returns their image_ids.

    Raises:
        ApiError: 404, there is no such image.
        UsageError: they are fewer than two images.
        IndexLockedError: another process is changing the index.
    """
    kept: list[str] = []

    def change(served: Served) -> IndexState:
        numbers = sorted({served.number(image) for image in images})
        kept.extend(served.name(number) for number in numbers)
        return keep_both(served.state, numbers)

    holder.change(change, ("decisions",))
    return sorted(kept)
