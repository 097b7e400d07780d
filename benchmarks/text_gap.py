"""Searches by text in a toy collection: what closing the gap and training on differences of texts bring.

    python benchmarks/text_gap.py

The backbone is the tiny CLIP of `tests/helpers_transformers.py`, which is trained on eight colours here and whose texts
are moved away from all photos. It says whether the way works, and nothing about a real CLIP.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers_transformers import COLOURS, agreeing_clip, coloured, write_model

from vitdsi import ImageIndex, load_config
from vitdsi.search import rank

_NAMES = list(COLOURS)
_EACH = 6  # photos of each colour


def main() -> None:
    """Build an index with captions, without, and without the differences of texts, and search it by colour."""
    photos = [coloured(colour, 100 + seed) for seed in range(_EACH) for colour in _NAMES]
    captions = {f"{i:06}": {"caption": f"a photo of {_NAMES[i % 8]}"} for i in range(len(photos))}
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(Path(folder) / "clip", "clip", agreeing_clip(gap=3.0))
        settings = ["training.max_epochs=40", "training.batch_size=64", "keypoints=0"]
        for name, metadata, share in (
            ("captions", captions, 0.5),
            ("none", None, 0.5),
            ("no differences", None, 0.0),
        ):
            with (
                mock.patch("vitdsi.training.text._TEXT_SHARE", share),
                mock.patch("vitdsi.training.text.MIN_PAIRS", 1),
            ):
                config = load_config(overrides=[f"model.backbone={model}", *settings])
                index = ImageIndex(config).fit(photos, metadata=metadata)
            print(json.dumps({"differences of texts": name, **measure(index)}), flush=True)


def measure(index: ImageIndex) -> dict[str, float | None]:
    """Measure how many of the first six results have the colour of the text, and how probable that colour is."""
    texts = [f"a photo of {colour}" for colour in _NAMES]
    gap, features = index.state_.text_gap, index.features_
    assert gap is not None and features is not None
    raw = index.reader.text_features(texts)

    def nearest(queries: np.ndarray) -> float:
        cosines = queries @ features.float().numpy().T
        return float((cosines.argmax(1) % 8 == np.arange(8)).mean())

    def precision(rerank: bool | None) -> float:
        found = [[r.id % 8 for r in index.search(text=text, k=_EACH, rerank=rerank)] for text in texts]
        return float((np.array(found) == np.arange(8)[:, None]).mean())

    everything = [index.search(text=text, k=len(features), rerank=False) for text in texts]
    mass = [sum(np.exp(r.log_prob) for r in found if r.id % 8 == i) for i, found in enumerate(everything)]
    measured = {
        "nearest photo, as they are": nearest(raw.numpy()),
        "nearest photo, gap closed": nearest(gap.closed(raw).numpy()),
        "P@6": precision(None),
    }
    with mock.patch.object(rank, "_MIN_RERANKED_FOR_KIND", 24):
        measured["P@6 of 24 candidates"] = precision(None)
    return {
        **measured,
        "P@6 of the decoder": precision(False),
        "probability of the colour": float(np.mean(mass)),
        "IA@1": index.report_.indexing_accuracy,
    }


if __name__ == "__main__":
    main()
