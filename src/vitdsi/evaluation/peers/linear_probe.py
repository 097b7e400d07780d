"""A linear probe: the class is predicted, and its images are ranked by cosine."""

from __future__ import annotations

import warnings

import numpy as np

from vitdsi.evaluation.peers.base import Floats, Given, Ids, Peer, Scores
from vitdsi.evaluation.peers.spaces import Space

__all__ = ["LinearProbe"]

_CANDIDATES = (1.0, 10.0, 100.0, 1000.0)  # of C, the inverse of the penalty
_FOLDS = 3
_MAX_CHOOSING = 2000  # photos that C is chosen on
_MAX_ITERATIONS = 300


class LinearProbe(Peer):
    """Multinomial logistic regression on unit vectors; images are ranked by p(their class | query), then by cosine.

    The score is the class probability, so that the best score is the greatest class probability, by which Hendrycks
    and Gimpel (ICLR 2017) recognise what belongs to no class. C is chosen by cross-validation on the training photos.

    Args:
        space: the space of the vectors, which are both classified and compared.
        seed: the seed of the folds.
    """

    needs_labels = True

    def __init__(self, space: Space, *, seed: int = 0) -> None:
        self.space, self.seed = space, seed
        self.name = "linear probe"

    def _fit(self, given: Given) -> None:
        from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, KFold

        vectors, classes = self.space.fit(given).embed(given.vectors), given.known_classes
        self._vectors, self._own = vectors[: given.count], classes[: given.count]
        self.bytes_per_image = vectors.itemsize * vectors.shape[1] + 4
        order = np.random.default_rng(self.seed).permutation(len(vectors))[:_MAX_CHOOSING]
        search = GridSearchCV(
            LogisticRegression(max_iter=_MAX_ITERATIONS),
            {"C": _CANDIDATES},
            cv=KFold(_FOLDS),
            refit=False,
            error_score=0.0,  # of a fold whose other photos are all of one class
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.simplefilter("ignore", FitFailedWarning)
            chosen = 1.0
            if len(order) >= _FOLDS * 2 and len(np.unique(classes[order])) > 1:
                chosen = search.fit(vectors[order], classes[order]).best_params_["C"]
            self.model = LogisticRegression(C=chosen, max_iter=_MAX_ITERATIONS).fit(vectors, classes)

    def _search(self, queries: Floats, k: int) -> tuple[Ids, Scores]:
        embedded = self.space.embed(queries)
        probabilities = self.model.predict_proba(embedded).astype(np.float32)[:, self._own]
        cosines = embedded @ self._vectors.T
        order = np.lexsort((-cosines, -probabilities), axis=1)[:, :k]
        return order.astype(np.int64), np.take_along_axis(probabilities, order, axis=1)
