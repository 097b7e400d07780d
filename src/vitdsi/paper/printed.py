"""The values that the paper prints in its Table 1, for comparison with ours.

Valerio Di Stefano, "Vision Transformer Memory as a Differentiable Search Index for Image Retrieval", section 4. Its
MAP@10 is the mean P@10 of ten queries, its Recall@100 the mean of ten queries. It gives no IA for BoVW.
"""

from __future__ import annotations

COLUMNS = ("IA@1", "IA@5", "MAP@10", "Recall@100")

Row = tuple[float | None, float | None, float, float]

PRINTED: dict[tuple[str, str, int], Row] = {
    ("BoVW", "-", 512): (None, None, 0.58, 0.875),
    ("BoVW", "-", 1024): (None, None, 0.5, 0.825),
    ("BoVW", "-", 2048): (None, None, 0.42, 0.78),
    ("fine-tuned", "clustered", 512): (0.415, 0.566, 0.32, 0.58),
    ("fine-tuned", "random", 512): (0.402, 0.472, 0.21, 0.365),
    ("fine-tuned", "clustered", 1024): (0.378, 0.404, 0.28, 0.38),
    ("fine-tuned", "random", 1024): (0.266, 0.3, 0.18, 0.265),
    ("fine-tuned", "clustered", 2048): (0.305, 0.333, 0.17, 0.22),
    ("fine-tuned", "random", 2048): (0.233, 0.275, 0.07, 0.135),
    ("zero-shot", "clustered", 512): (0.833, 0.962, 0.18, 0.275),
    ("zero-shot", "random", 512): (0.794, 0.871, 0.1, 0.23),
    ("zero-shot", "clustered", 1024): (0.763, 0.828, 0.12, 0.21),
    ("zero-shot", "random", 1024): (0.725, 0.766, 0.07, 0.175),
    ("zero-shot", "clustered", 2048): (0.678, 0.774, 0.1, 0.195),
    ("zero-shot", "random", 2048): (0.533, 0.719, 0.06, 0.16),
}


def printed(method: str, scheme: str, size: int) -> dict[str, float | None]:
    """Return a row of the paper's table by column, or an empty one if it has no such row."""
    row = PRINTED.get((method, scheme, size))
    return {} if row is None else dict(zip(COLUMNS, row, strict=True))
