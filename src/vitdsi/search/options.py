"""The options of a search, and its results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from vitdsi.errors import UsageError
from vitdsi.photos.regions import MAX_PARTS, Region

__all__ = [
    "BEAM_SIZE",
    "CANDIDATES",
    "FIRST_ROUND",
    "LARGEST_ROUND",
    "MAX_EXPANSIONS",
    "MOST_COMPARED",
    "MOST_PROBABLE",
    "SearchOptions",
    "SearchResult",
]

# Of best-first search (`vitdsi.search.best_first`), here because searches without torch have the same.
BEAM_SIZE = 10  # prefixes that the beam keeps at first
MAX_EXPANSIONS = 4096  # prefixes of a query that are expanded at most; EXPERIMENTS.md has the evidence
FIRST_ROUND, LARGEST_ROUND = (
    16,
    256,
)  # prefixes of a query that are expanded together; each round doubles them

CANDIDATES = 100
"""How many images may be verified: those that look most like the query."""

# They are found among all images of a collection that has no more, and among the most probable ones of a larger one.
MOST_COMPARED, MOST_PROBABLE = 65_536, 1000


@dataclass(frozen=True)
class SearchOptions:
    """The options of a search: one value that travels from the caller to the decoder.

    Attributes:
        k: the number of results for each query.
        where: a condition on metadata, such as `album = "2019" and width > 800`. Only images for which it holds are
            searched.
        allow: image_ids or ids. Only these images are searched. Any iterable is stored as a frozenset.
        collapse: leave out results that are near-identical to a better one.
        min_score: leave out results with a lower score (see `SearchResult`).
        beam_size: the number of prefixes that a beam search keeps for each query, at least offset + k. It is faster and
            may miss results. None searches best first, which finds the most probable images.
        rerank: order the most probable images by their relevance, in which the similarity of embeddings counts as well
            (see `vitdsi.search.evidence.relevance`), and not by probability alone. None does so if the embeddings of
            the index start from features, as those of pooled features do, with labels and without. Scores are the same
            either way.
        verify: match the keypoints of the query with those of the 50 to 100 images that look most like it, and put
            results that have many in common first (see `vitdsi.search.verify`). None does so if the index has
            keypoints.
        regions: in how many regions a photo is read, so that a thing that is a part of it is found: its centre square,
            and smaller squares (see `vitdsi.photos.regions`). Each costs a pass of the backbone. None reads 5 if the
            index compares pictures, which those without classes do, and 1 otherwise or with `any_rotation`.
        region: search for what this part of the photo shows, and for nothing else in it.
        offset: the number of results before the first one that is returned. Pages of k results are parts of one list;
            those of a beam search only if `beam_size` is the same for all of them.
        any_rotation: search for the photo as it is and turned by 90, 180 and 270 degrees. Each image has the best of
            its four answers. Each costs a pass of the backbone.
        pictures: images that show the same picture come first. Searches by text set it to False, since a text shows
            none: results are then ordered by the kind of thing that they show.

    Raises:
        UsageError: a value out of its range, when the options are made.
    """

    k: int = 10
    where: str | None = None
    allow: Iterable[str | int] | None = None
    collapse: bool = False
    min_score: float = 0.0
    beam_size: int | None = None
    rerank: bool | None = None
    verify: bool | None = None
    regions: int | None = None
    region: Region | None = None
    offset: int = 0
    any_rotation: bool = False
    pictures: bool = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UsageError(f"k is {self.k}; it must be at least 1")
        if self.offset < 0:
            raise UsageError(f"offset is {self.offset}; it must be at least 0")
        if self.beam_size is not None and self.beam_size < self.offset + self.k:
            needed = f"offset + k = {self.offset + self.k}" if self.offset else f"k = {self.k}"
            raise UsageError(f"beam_size is {self.beam_size}; it must be at least {needed}")
        if not 0 <= self.min_score <= 1:
            raise UsageError(f"min_score is {self.min_score}; it must be between 0 and 1")
        if self.regions is not None and not 1 <= self.regions <= MAX_PARTS:
            raise UsageError(f"regions is {self.regions}; it must be between 1 and {MAX_PARTS}")
        if self.region is not None and self.regions is not None:
            raise UsageError("regions and region do not go together: a chosen region is read alone")
        if isinstance(self.allow, str):
            raise UsageError(f"allow is the text {self.allow!r}; give a list of image_ids or ids")
        if self.allow is not None:
            object.__setattr__(self, "allow", frozenset(self.allow))


@dataclass(frozen=True)
class SearchResult:
    """One image that was found.

    Attributes:
        rank: 1 for the best result, offset + 1 for the first one after an offset.
        image_id: the name of the image in its collection.
        score: the calibrated probability that this result is right in the sense that the index was trained for (the
            same picture without labels, the same class with labels), if half of the queries have something right in
            the collection. It is the sigmoid of a weighted sum of the log-probability and of two cosines, that of the
            picture parts and that of the category parts of the embeddings. The weights were fitted to views held out of
            training, and to the same views with what is right for them left out (see `vitdsi.search.calibrate`). It
            does not depend on k, other queries or filters. Results are not ordered by it.
        id: the internal number of the image.
        log_prob: the log-probability of the image given the query, in nats; if the query was read in several regions,
            that of the mean of their distributions. It does not depend on filters, removed images or k.
        proven: whether the search proved that no other allowed image is more probable than those it found. If results
            are reranked, it holds for all images that were compared: the 24 most probable ones (100 in an index of up
            to 1,000 images or of more than 262,144), or k if that is more, of each region.
        inliers: how many points of the image were found in the query in a place that agrees with all others; None if
            the result was not verified.
        certain: whether there are so many that the query shows the same thing as the image.
        outline: the corners of the image in the query, from its upper left one clockwise, as shares (x, y) of the width
            and height of the query; None unless it is certain.
        matches: the points (x, y, x, y) that were found, in the query and in the image, as shares of width and height;
            none unless it is certain.
        region: the region of the query that is most like this image, as shares of its width and height: x and y of the
            upper left corner, width and height; None if the query was no photo.
        picture_place: the place of the image, from 0 on, among those that look most like any region of the query, the
            best of each region in turns; None if it is not among them.
    """

    rank: int
    image_id: str
    score: float
    id: int
    log_prob: float
    proven: bool
    inliers: int | None = None
    certain: bool = False
    outline: tuple[tuple[float, float], ...] | None = None
    matches: tuple[tuple[float, float, float, float], ...] = field(default=(), repr=False)
    region: tuple[float, float, float, float] | None = None
    picture_place: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the matches and the place among pictures, as JSON values."""
        return {
            "rank": self.rank,
            "image_id": self.image_id,
            "score": self.score,
            "log_prob": self.log_prob,
            "proven": self.proven,
            "id": self.id,
            "region": self.region,
            "inliers": self.inliers,
            "certain": self.certain,
            "outline": self.outline,
        }
