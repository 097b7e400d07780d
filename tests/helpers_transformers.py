"""Tiny random models in the file format of `transformers`, shared by the tests of its backbones and of text queries."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

SIDE, PATCH = 32, 8
KINDS = ("vit", "dinov2", "clip", "siglip", "convnext")

_TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": SIDE,
    "patch_size": PATCH,
}
_WORDS = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", "a", "photo", "of"]
COLOURS = {
    "red": (220, 30, 30), "green": (30, 180, 50), "blue": (40, 60, 220), "yellow": (230, 220, 40),
    "black": (15, 15, 15), "white": (240, 240, 240), "purple": (150, 40, 170), "cyan": (40, 210, 220),
}  # fmt: skip


@functools.cache
def library() -> Any:
    """The module `transformers`; tests that need it are skipped where it is not installed."""
    return pytest.importorskip("transformers")


def model(kind: str) -> Any:
    """A random model, always the same."""
    tf = library()
    torch.manual_seed(0)
    text = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "vocab_size": len(_WORDS) + len(COLOURS),
        "max_position_embeddings": 12,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    match kind:
        case "vit":
            return tf.ViTModel(tf.ViTConfig(**_TOWER))
        case "dinov2":
            return tf.Dinov2Model(tf.Dinov2Config(**_TOWER | {"image_size": 56}))
        case "clip":
            return tf.CLIPModel(tf.CLIPConfig(text_config=text, vision_config=_TOWER, projection_dim=24))
        case "siglip":
            return tf.SiglipModel(
                tf.SiglipConfig(text_config=text | {"projection_size": 32}, vision_config=_TOWER)
            )
        case "convnext":
            return tf.ConvNextModel(tf.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1]))
    raise ValueError(kind)


def processor(kind: str) -> Any:
    """The image processor that the models of this kind are published with, for small photos."""
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    square = {"height": SIDE, "width": SIDE}
    match kind:
        case "vit":
            return ViTImageProcessorPil(size=square)
        case "dinov2":
            return BitImageProcessorPil(
                size={"shortest_edge": 40}, crop_size=square, image_mean=[0.485, 0.456, 0.406], resample=3
            )
        case "clip":
            return CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=square)
        case "siglip":
            return SiglipImageProcessorPil(size=square, resample=3)
        case "convnext":
            return ConvNextImageProcessorPil(size={"shortest_edge": 2 * SIDE}, crop_pct=0.875)
    raise ValueError(kind)


def tokenizer() -> Any:
    """A tokenizer whose words are those of "a photo of red"."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    words = {word: i for i, word in enumerate([*_WORDS, *COLOURS])}
    made = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 2)]
    )
    return library().PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", bos_token="[BOS]", eos_token="[EOS]", unk_token="[UNK]"
    )


def write_model(folder: Path, kind: str, made: Any = None) -> Path:
    """Write a model, its image processor and for two towers its tokenizer; return the folder."""
    (model(kind) if made is None else made).save_pretrained(folder)
    processor(kind).save_pretrained(folder)
    if kind in ("clip", "siglip"):
        tokenizer().save_pretrained(folder)
    return folder
