"""The queries of `vitdsi search`: files, texts, images of the index, and photos that appear in a folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from vitdsi.cli.common import say
from vitdsi.errors import ImageReadError

if TYPE_CHECKING:
    from vitdsi.index import ImageIndex
    from vitdsi.photos.decode import Source
    from vitdsi.search.options import SearchOptions, SearchResult

__all__ = [
    "Answer",
    "Searchable",
    "expand",
    "more_like",
    "page_of_results",
    "search_files",
    "text_answers",
    "watched",
    "why_nothing",
]

_BATCH = 64
# The name of a query, its file or text if there is one, and its results, None if the image cannot be read.
Answer: TypeAlias = "tuple[str, Path | str | None, list[SearchResult] | None]"


class Searchable(Protocol):
    """An index, or an export of one."""

    def search_with(
        self, images: Sequence[Source], options: SearchOptions, *, batch_size: int = ...
    ) -> list[list[SearchResult]]:
        """Search for many photos."""
        ...


def text_answers(index: ImageIndex, texts: tuple[str, ...], options: SearchOptions) -> Iterator[Answer]:
    """Yield the answer for each text."""
    for text in texts:
        yield text, text, index.search_with([], options, texts=[text])[0]


def more_like(
    index: ImageIndex, like: tuple[str, ...], options: SearchOptions, folder: Path | None
) -> Iterator[Answer]:
    """Yield the answer for each of these images of the index."""
    for image_id in like:
        path = None if folder is None else folder / image_id
        yield image_id, path, index.more_like_with(image_id, options)


def watched(index: Searchable, folder: Path | None, strict: bool, options: SearchOptions) -> Iterator[Answer]:
    """Yield the answer for each photo that appears in a folder."""
    if folder is None:
        return
    from vitdsi.photos.watch import arriving

    for path in arriving(folder):
        yield from search_files(index, [(str(path), path)], strict, options)


def search_files(
    index: Searchable,
    queries: list[tuple[str, Path | None]],
    strict: bool,
    options: SearchOptions,
) -> Iterator[Answer]:
    """Yield the answer for each query in order."""
    for start in range(0, len(queries), _BATCH):
        chunk = queries[start : start + _BATCH]
        sources = [sys.stdin.buffer.read() if path is None else path for _, path in chunk]
        try:
            found = index.search_with(sources, options, batch_size=_BATCH)
            for (name, path), results in zip(chunk, found, strict=True):
                yield name, path, results
        except ImageReadError:
            # This is rare, so the readable images of this batch are searched one by one.
            for (name, path), source in zip(chunk, sources, strict=True):
                try:
                    yield name, path, index.search_with([source], options)[0]
                except ImageReadError as error:
                    if strict:
                        raise ImageReadError(name, error.reason) from error
                    say(f"skipped {name}: {error.reason}")
                    yield name, path, None


def expand(images: tuple[str, ...]) -> list[tuple[str, Path | None]]:
    """List (name to print, path) of every query; the path is None for stdin."""
    from vitdsi.photos.find import find_images

    queries: list[tuple[str, Path | None]] = []
    for given in images:
        root = Path(given)
        if given == "-":
            queries.append(("-", None))
        elif root.is_dir():
            prefix = given.rstrip("/")
            queries += [(f"{prefix}/{p.relative_to(root).as_posix()}", p) for p in find_images(root)]
        else:
            queries += [(given, path) for path in find_images(root)]
    return queries


def page_of_results(index: ImageIndex, options: SearchOptions) -> str:
    """Say which results are shown of how many images."""
    total, first = index.images(options.where, allow=options.allow, limit=0).total, options.offset
    if first < total:
        last = min(first + options.k, total)
        return f"results {first + 1} to {last} of the {total} images that are searched"
    return f"no results after the first {first}: {total} images are searched"


def why_nothing(options: SearchOptions) -> str:
    """Say why no query has a result."""
    if options.offset:
        return f"no result comes after the first {options.offset} (--offset)"
    if options.min_score:
        return f"no result has a score of {options.min_score:.4f} (--min-score)"
    if options.where is not None or options.allow is not None:
        return "no image passes the filter"
    return "its images were all removed"
