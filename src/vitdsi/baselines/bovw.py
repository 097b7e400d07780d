"""Bag of visual words over SIFT descriptors: the paper's classical baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vitdsi.baselines.base import Ids, Scores, pad
from vitdsi.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BagOfVisualWords"]

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_ITERATIONS = 50  # of k-means


class BagOfVisualWords:
    """SIFT descriptors of the gray image, k-means words, an L2-normalised histogram, cosine over all images.

    Sivic and Zisserman, "Video Google", ICCV 2003 (words, and tf-idf); Arandjelovic and Zisserman, "Three
    things everyone should know to improve object retrieval", CVPR 2012 (RootSIFT). The paper has 200 words.

    All work is done in one thread, so that no thread pool of OpenCV or scikit-learn takes cores from torch.

    Args:
        num_words: size of the vocabulary; smaller when the sample has fewer distinct descriptors.
        seed: for the sample and k-means; one seed, one result.
        root_sift: square roots of L1-normalised descriptors, which compares them by the Hellinger kernel.
        tf_idf: weight a word by log(N / images that have it), and its count by the image's number of words.
        max_descriptors: how many make the vocabulary, from randomly drawn images.
    """

    def __init__(
        self,
        num_words: int = 200,
        *,
        seed: int = 0,
        root_sift: bool = False,
        tf_idf: bool = False,
        max_descriptors: int = 100_000,
    ) -> None:
        for name, value in (("num_words", num_words), ("max_descriptors", max_descriptors)):
            if value < 1:
                raise UsageError(f"{name}={value}: must be at least 1")
        if max_descriptors < num_words:
            raise UsageError(f"max_descriptors={max_descriptors}: must be at least num_words={num_words}")
        self.num_words = num_words
        self.seed = seed
        self.root_sift = root_sift
        self.tf_idf = tf_idf
        self.max_descriptors = max_descriptors
        self._words: Floats | None = None

    def fit(self, images: Sequence[Image], /) -> Self:
        """Index RGB images, each uint8 (H, W, 3); the id of an image is its position.

        Raises:
            UsageError: no images, one of another type or shape, or not one descriptor in all of them.
        """
        if not len(images):
            raise UsageError("no images: give at least one")
        with _one_thread():
            words = self._cluster(self._sample(images))
            counts = np.stack([self._count(image, words) for image in images])
        present = (counts > 0).sum(axis=0)
        # a word of the sample that no image has been assigned to weighs nothing
        idf = np.log(len(images) / np.maximum(present, 1)).astype(np.float32)
        self._idf: Floats = idf if self.tf_idf else np.ones_like(idf)
        self._words = words
        self._histograms = self._normalised(counts)
        self._empty: npt.NDArray[np.bool_] = self._histograms.max(axis=1) == 0
        return self

    def search(self, queries: Sequence[Image], k: int, /) -> tuple[Ids, Scores]:
        """Ids (Q, k) and cosines (Q, k), best first; after the last image -1 and -inf.

        Equal scores are in the order of ids, indexed images without words last.

        Raises:
            UsageError: before fit, k below 1, or images of another type or shape.
        """
        if self._words is None:
            raise UsageError("search before fit: call fit(images) first")
        if k < 1:
            raise UsageError(f"k={k}: must be at least 1")
        if not len(queries):
            return np.empty((0, k), dtype=np.int64), np.empty((0, k), dtype=np.float32)
        with _one_thread():
            histograms = self._normalised(np.stack([self._count(image, self._words) for image in queries]))
            scores = histograms @ self._histograms.T
        ids = np.stack([np.lexsort((self._empty, -row))[:k] for row in scores])
        return pad(ids, np.take_along_axis(scores, ids, axis=1), k)

    def _descriptors(self, image: Image) -> Floats:
        """SIFT (n, 128), n may be 0."""
        import cv2

        opencv: Any = cv2  # its type information lacks SIFT in some versions
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise UsageError(
                f"an image of shape {image.shape}, type {image.dtype}: must be uint8 (H, W, 3), RGB"
            )
        gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
        _, found = opencv.SIFT_create().detectAndCompute(gray, None)
        if found is None:
            return np.empty((0, 128), dtype=np.float32)
        descriptors: Floats = np.asarray(found, dtype=np.float32)
        if self.root_sift:
            descriptors = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12))
        return descriptors

    def _sample(self, images: Sequence[Image]) -> Floats:
        """Descriptors of images in random order until there are enough, so that memory has a bound."""
        parts: list[Floats] = []
        missing = self.max_descriptors
        for i in np.random.default_rng(self.seed).permutation(len(images)):
            part = self._descriptors(images[int(i)])[:missing]
            parts.append(part)
            missing -= len(part)
            if not missing:
                break
        sample = np.concatenate(parts)
        if not len(sample):
            raise UsageError(
                f"no SIFT descriptors in any of {len(images)} images; give larger or less plain ones"
            )
        return sample

    def _cluster(self, sample: Floats) -> Floats:
        from sklearn.cluster import KMeans

        count = min(self.num_words, len(np.unique(sample, axis=0)))
        seed = self.seed % 2**32
        found = KMeans(count, n_init=1, max_iter=_ITERATIONS, random_state=seed).fit(sample)
        return np.asarray(found.cluster_centers_, dtype=np.float32)

    def _count(self, image: Image, words: Floats) -> Floats:
        """How often an image has each word (num_words,)."""
        descriptors = self._descriptors(image)
        # |d - w|^2 without |d|^2, which is the same for all words
        nearest = (np.square(words).sum(axis=1) - 2 * descriptors @ words.T).argmin(axis=1)
        return np.bincount(nearest, minlength=len(words)).astype(np.float32)

    def _normalised(self, counts: Floats) -> Floats:
        weighted = counts * self._idf
        length = np.linalg.norm(weighted, axis=1, keepdims=True)
        return np.asarray(weighted / np.where(length > 0, length, 1), dtype=np.float32)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit OpenCV, OpenMP and BLAS to the calling thread, so that none of them starts a pool."""
    import cv2
    import sklearn.cluster  # noqa: F401  (only libraries that are loaded can be limited)
    from threadpoolctl import threadpool_limits

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        cv2.setNumThreads(before)
