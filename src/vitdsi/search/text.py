"""Text queries: texts as features that are searched like those of photos."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vitdsi.backbones.reader import FeatureReader
from vitdsi.errors import UsageError
from vitdsi.search.options import SearchOptions
from vitdsi.state import IndexState

__all__ = ["text_queries"]


def text_queries(
    state: IndexState, reader: FeatureReader, texts: Sequence[str], options: SearchOptions
) -> Tensor:
    """Return the features (T, F) that texts are searched with, in place of those of photos.

    Raises:
        UsageError: the index reads no text, a text is empty, or `options.min_score` is set, since scores are calibrated
            on photos alone.
    """
    if state.text_gap is None:
        model = state.resolved.model
        raise UsageError(
            f"this index reads no text (backbone {model.backbone}, stem {model.stem}); build it with a backbone that"
            " has a tower for text, such as --backbone openai/clip-vit-base-patch32, and the stem pooled"
        )
    if not all(text.strip() for text in texts):
        raise UsageError("a text is empty; describe what the photos should show")
    if options.min_score:
        raise UsageError(
            "min_score has no meaning for a text, as scores are calibrated on photos; leave it out"
        )
    return state.text_gap.closed(reader.text_features(texts))
