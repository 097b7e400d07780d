"""The settings that the ablations vary, and what the paper claims about them in section 3.2.1."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variation:
    """A setting that an ablation varies.

    Attributes:
        setting: a key of the configuration, or the name of an attribute of `Options`.
        values: the values that the paper tries.
        claim: the claim of the paper.
        early_stopping: whether the retrieval phase may end before its last epoch.
    """

    setting: str
    values: tuple[str, ...]
    claim: str
    early_stopping: bool = True


ABLATIONS = {
    "patch_size": Variation(
        "model.paper.patch_size", ("8", "16", "32"), "patches of 16 x 16 pixels are best"
    ),
    "positions": Variation(
        "model.paper.positions",
        ("learned", "sincos1d", "sincos2d"),
        "fixed (1-D sine-cosine) positions are best",
    ),
    "dropout": Variation("model.paper.dropout", ("0.0", "0.1", "0.2"), "a dropout of 0.1 is best"),
    "image_size": Variation(
        "image_size", ("64", "160", "256"), "images of 160 pixels are the best trade with training time"
    ),
    "indexing_share": Variation(
        "indexing_share", ("0.1", "0.25", "0.5"), "indexing 25 % of the images is best"
    ),
    "retrieval_epochs": Variation(
        "training.paper.retrieval_epochs",
        ("0", "5", "10", "25", "50", "75"),
        "as retrieval epochs grow, retrieval gets better and IA falls towards 0",
        early_stopping=False,
    ),
}
