"""A bag of visual words: the classical way to find a photographed thing among many photos, as a peer of the index."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from vitdsi.photos.keypoints import Keypoints, PhotoKeypoints, unpack

_SAMPLE = 100_000  # descriptors that the words are learned from
_ITERATIONS = 10  # of k-means
_BYTES_PER_ENTRY = 8  # of an inverted file: an image and a weight


class VisualWords:
    """Images as histograms of visual words with tf-idf weights, compared by cosine.

    Sivic and Zisserman, "Video Google", ICCV 2003; Philbin et al., "Object retrieval with large vocabularies and fast
    spatial matching", CVPR 2007. A word is the nearest of the centres that k-means finds among the descriptors of the
    collection. Term frequencies are square roots of counts, because repeated structures count too often (Jegou et al.,
    "On the burstiness of visual elements", CVPR 2009).

    Args:
        keypoints: those of the N indexed images.
        words: the size of the vocabulary.

    Attributes:
        bytes_per_image: bytes of the inverted file for each image. The words themselves are not counted.
    """

    def __init__(self, keypoints: Keypoints, words: int = 10_000) -> None:
        import faiss

        photos = [keypoints.of_photo(i)[0] for i in range(len(keypoints))]
        vectors = unpack(np.concatenate(photos))
        rng = np.random.default_rng(0)
        sample = vectors[np.sort(rng.permutation(len(vectors))[:_SAMPLE])]
        self._words = min(words, len(sample))
        learned = faiss.Kmeans(
            vectors.shape[1], self._words, niter=_ITERATIONS, seed=0, min_points_per_centroid=1
        )
        with threadpool_limits(limits=1):
            learned.train(sample)
        self._centres = learned.index
        images = np.repeat(np.arange(len(photos)), [len(photo) for photo in photos])
        counts = self._counts(vectors, images, len(keypoints))
        present = np.bincount(counts.indices, minlength=self._words)
        self._idf = np.log(len(keypoints) / np.maximum(present, 1))
        self._histograms = self._weighted(counts)
        self.bytes_per_image = _BYTES_PER_ENTRY * counts.nnz / len(keypoints)

    def search(self, photo: PhotoKeypoints, k: int) -> npt.NDArray[np.int64]:
        """Return the k images with the most similar histograms, best first."""
        counts = self._counts(unpack(photo.descriptors), np.zeros(len(photo.descriptors), np.int64), 1)
        scores = (self._histograms @ self._weighted(counts).T).toarray()[:, 0]
        return np.argsort(-scores, kind="stable")[:k]

    def _counts(
        self, vectors: npt.NDArray[np.float32], images: npt.NDArray[np.int64], count: int
    ) -> csr_array:
        """Count the words of descriptors (P, D) in the images (P,) that they belong to: (count, words)."""
        with threadpool_limits(limits=1):
            _, nearest = self._centres.search(vectors, 1)
        ones = np.ones(len(vectors))
        return csr_array((ones, (images, nearest[:, 0])), shape=(count, self._words))

    def _weighted(self, counts: csr_array) -> csr_array:
        """Weigh counts (n, words) by tf-idf, and scale the rows to unit length."""
        weighted = counts.sqrt() * self._idf
        lengths = np.sqrt(weighted.multiply(weighted).sum(1))
        return csr_array(weighted / np.maximum(lengths, 1e-12)[:, None])
