"""Tiny random models in the file format of `transformers`, shared by the tests of its backbones and of text queries."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitdsi.training.text import _TEXTS

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
_SPECIAL = ["[PAD]", "[UNK]", "[BOS]", "[EOS]"]  # a CLIP whose EOS is 2 pools as some early ones did
COLOURS = {
    "red": (220, 30, 30), "green": (30, 180, 50), "blue": (40, 60, 220), "yellow": (230, 220, 40),
    "black": (15, 15, 15), "white": (240, 240, 240), "purple": (150, 40, 170), "cyan": (40, 210, 220),
}  # fmt: skip


@functools.cache
def library() -> Any:
    """The module `transformers`; tests that need it are skipped where it is not installed."""
    return pytest.importorskip("transformers")


def words() -> dict[str, int]:
    """The numbers of the words that the tokenizer knows: colours, and those of the texts that stand in for captions."""
    known = [*_SPECIAL, *COLOURS, *" ".join(_TEXTS).split()]
    return {word: i for i, word in enumerate(dict.fromkeys(known))}


def model(kind: str) -> Any:
    """A random model, always the same."""
    tf = library()
    torch.manual_seed(0)
    text = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "vocab_size": len(words()),
        "max_position_embeddings": 12,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
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
    """A tokenizer of whole words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    made = Tokenizer(WordLevel(words(), unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 2), ("[EOS]", 3)]
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


def coloured(colour: str, seed: int) -> Image.Image:
    """A photo whose colour is this one, with a pattern of its own."""
    rng = np.random.default_rng(seed)
    pattern = Image.fromarray(rng.integers(0, 256, (4, 4), dtype=np.uint8)).resize((SIDE, SIDE))
    values = np.array(COLOURS[colour]) + 0.3 * (np.asarray(pattern, dtype=float)[..., None] - 128)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def agreeing_clip(gap: float = 0.0, steps: int = 60) -> Any:
    """A tiny CLIP, trained until photos and names of colours agree.

    Args:
        gap: standard deviation of what is added to the bias of the last text layer, which moves all texts alike.
        steps: steps of training.
    """
    made = model("clip").train()
    optimizer = torch.optim.AdamW(made.parameters(), lr=3e-3)
    images = [
        processor("clip")(coloured(c, seed), return_tensors="pt")["pixel_values"]
        for seed in range(4)
        for c in COLOURS
    ]
    pixels = torch.cat(images).view(4, len(COLOURS), 3, SIDE, SIDE)
    tokens = tokenizer()([f"a photo of {colour}" for colour in COLOURS], return_tensors="pt")
    for step in range(steps):
        loss = made(pixel_values=pixels[step % 4], **tokens, return_loss=True).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        bias = made.text_model.final_layer_norm.bias
        bias += gap * torch.randn(bias.shape, generator=torch.Generator().manual_seed(0))
    return made.eval()
