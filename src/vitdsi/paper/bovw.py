"""A bag of visual words over SIFT descriptors, the classical baseline of the paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vitdsi.errors import UsageError
from vitdsi.evaluation.peers.base import Ids, Scores, pad
from vitdsi.kmeans import kmeans

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BagOfVisualWords"]

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_MAX_ITERATIONS = 50  # of k-means


class BagOfVisualWords:
    """Image retrieval with visual words, a `Retriever` of RGB images.

    The SIFT descriptors of a grey image are assigned to the nearest of the words, which k-means finds in a sample of
    descriptors. Images are compared by the cosine similarity of their histograms of words.

    Sivic and Zisserman, "Video Google", ICCV 2003 (visual words and tf-idf); Arandjelovic and Zisserman, "Three things
    everyone should know to improve object retrieval", CVPR 2012 (RootSIFT). The paper uses 200 words.

    Everything runs in a single thread, because thread pools of OpenCV and scikit-learn slow torch down.

    Args:
        num_words: size of the vocabulary. It is smaller if the sample has fewer distinct descriptors.
        seed: seed of the sample and of k-means. The same seed gives the same result.
        root_sift: take the square roots of L1-normalised descriptors, which compares them by the Hellinger kernel.
        tf_idf: weight each word by log(N / number of images with the word).
        max_descriptors: size of the sample of descriptors, from randomly drawn images.

    Raises:
        UsageError: if a number is below 1, or `max_descriptors` is below `num_words`.
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
        self._words: Floats | None = None  # (num_words, 128)

    def fit(self, images: Sequence[Image], /) -> Self:
        """Index RGB images, each uint8 (H, W, 3). The id of an image is its position.

        Raises:
            UsageError: if there are no images, an image has another type or shape, or no image has a descriptor.
        """
        if not len(images):
            raise UsageError("no images: give at least one")
        with _one_thread():
            words = self._vocabulary(self._sample(images))
            counts = np.stack([self._count(image, words) for image in images])
        num_images = (counts > 0).sum(axis=0)
        # Avoid a division by zero for a word of the sample that no image has.
        idf = np.log(len(images) / np.maximum(num_images, 1)).astype(np.float32)
        self._idf: Floats = idf if self.tf_idf else np.ones_like(idf)
        self._words = words
        self._histograms = self._normalised(counts)
        self._empty: npt.NDArray[np.bool_] = self._histograms.max(axis=1) == 0
        return self

    def search(self, queries: Sequence[Image], k: int, /) -> tuple[Ids, Scores]:
        """Search with query images (Q,).

        Returns:
            Ids (Q, k) and cosines (Q, k), best first, padded with -1 and -inf after the last image. Equal scores are in
            the order of ids, except that indexed images without any words come last.

        Raises:
            UsageError: if nothing was fitted, k is below 1, or an image has another type or shape.
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
        """Return the SIFT descriptors (n, 128) of an image; n may be 0."""
        import cv2

        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise UsageError(
                f"image of shape {image.shape} and type {image.dtype}: must be RGB, uint8 (H, W, 3)"
            )
        gray = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
        _, found = cv2.SIFT_create().detectAndCompute(gray, None)
        if found is None:
            return np.empty((0, 128), dtype=np.float32)
        descriptors: Floats = np.asarray(found, dtype=np.float32)
        if self.root_sift:
            descriptors = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12))
        return descriptors

    def _sample(self, images: Sequence[Image]) -> Floats:
        """Return descriptors of images in random order, at most `max_descriptors` to bound the memory."""
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
                f"no SIFT descriptors in any of {len(images)} images; give images that are larger or have more detail"
            )
        return sample

    def _vocabulary(self, sample: Floats) -> Floats:
        """Cluster the sample into words (num_words, 128), or fewer if it has fewer distinct descriptors."""
        words, _ = kmeans(sample, self.num_words, self.seed, _MAX_ITERATIONS)
        return words

    def _count(self, image: Image, words: Floats) -> Floats:
        """Count how often an image has each word (num_words,)."""
        descriptors = self._descriptors(image)
        # The squared distance |d - w|^2 without |d|^2, which is the same for all words.
        nearest = (np.square(words).sum(axis=1) - 2 * descriptors @ words.T).argmin(axis=1)
        return np.bincount(nearest, minlength=len(words)).astype(np.float32)

    def _normalised(self, counts: Floats) -> Floats:
        """Weight counts of words (N, num_words) and normalise each row; rows of zeros stay zeros."""
        weighted = counts * self._idf
        length = np.linalg.norm(weighted, axis=1, keepdims=True)
        return np.asarray(weighted / np.where(length > 0, length, 1), dtype=np.float32)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit OpenCV, OpenMP and BLAS to the calling thread, so that none of them starts a thread pool."""
    import cv2
    from threadpoolctl import threadpool_limits

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        cv2.setNumThreads(before)
