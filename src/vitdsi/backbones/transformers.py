"""Backbones of `transformers`: any vision model of it, such as ViT, DINOv2, CLIP and SigLIP, by name or from a folder.

Weights are read from safetensors alone, and no code of a repository is run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitdsi.backbones.checkpoint import model_folder, stored_weights_hash
from vitdsi.backbones.preprocessing import Preprocessing
from vitdsi.errors import ConfigError, UsageError

__all__ = ["TransformersBackbone", "TwoTowerBackbone", "transformers_backbone"]

# Weights that a model may have and a checkpoint may lack: the first is used in pretraining only, and without the second
# the first token is the pooled vector.
_MASK, _POOLER = "mask_token", "pooler."
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
_MOST_OTHER_TOKENS = 16  # class token and registers before the patches


def transformers_backbone(name: str) -> TransformersBackbone:
    """Load a vision model of `transformers`, on the CPU.

    Args:
        name: a local folder, or the name of a repository of the hub.

    Raises:
        UsageError: `transformers` is not installed, or the hub cannot be reached.
        ConfigError: there is no such model, or none that can be used.
    """
    try:
        import transformers
    except ImportError as error:
        raise UsageError(
            f"model.backbone is {name!r}, which needs transformers; pip install 'vitdsi[transformers]'"
        ) from error
    folder = model_folder(name)
    try:
        with _quiet(transformers):
            processor = transformers.AutoImageProcessor.from_pretrained(folder)
            model, loaded = transformers.AutoModel.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False, output_loading_info=True
            )
    except Exception as error:  # configurations can be broken in any way
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"model.backbone is {name!r}, which cannot be loaded as a vision model ({reason}); give another model"
        ) from error
    missing = set(loaded["missing_keys"])
    if lacking := sorted(key for key in missing if _MASK not in key and _POOLER not in key):
        raise ConfigError(
            f"model.backbone is {name!r}, which lacks {len(lacking)} weights, such as {lacking[0]}; give a complete"
            " model"
        )
    towers = hasattr(model, "get_image_features") and hasattr(model, "get_text_features")
    kind = TwoTowerBackbone if towers else TransformersBackbone
    has_pooler = not any(_POOLER in key for key in missing)
    return kind(name, folder, model, Preprocessing.of(processor, name), has_pooler)


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep transformers from writing progress bars and reports on loading, about which we have errors of our own."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


class TransformersBackbone:
    """A frozen vision model of `transformers`.

    The features `pooled` are the model's own pooled output, or its first token where the weights have no pooler. The
    features `map` are the last hidden states of the patches, without the tokens before them (class and registers); a
    model whose patches form no square has none.

    On a GPU the model computes in float16.

    Args:
        name: the value of the setting `model.backbone`.
        folder: the files of the model.
        model: the model.
        preprocessing: what its image processor does.
        has_pooler: whether the weights have what the pooled output is computed with.
    """

    dtype = torch.float16

    def __init__(
        self, name: str, folder: Path, model: Any, preprocessing: Preprocessing, has_pooler: bool = True
    ) -> None:
        self.name = name
        self.weights = stored_weights_hash(folder)
        self.image_size = preprocessing.image_size
        self.resample = preprocessing.resample
        self._folder = folder
        self._model = model.float().eval().requires_grad_(False)
        self._preprocessing = preprocessing
        self._has_pooler = has_pooler
        self._computes_in = torch.float32
        blank = torch.zeros(1, 3, self.image_size, self.image_size, dtype=torch.uint8)
        try:
            with torch.inference_mode():
                tokens, pooled = self._tokens(blank), self._pooled(blank)
        except Exception as error:  # models of text or video, or of another image size
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(
                f"model.backbone is {name!r}, which reads no photos of {preprocessing.crop} pixels ({reason}); give a"
                " vision model of transformers"
            ) from error
        self._cells = _cells(tokens, self._model.config, preprocessing.crop)
        self.shapes: dict[str, tuple[int, ...]] = {"pooled": (pooled.shape[1],)}
        if self._cells:
            self.shapes["map"] = (self._cells, tokens.shape[2])

    def features(self, pixels: Tensor, kind: str) -> Tensor:
        """Turn uint8 pixels (B, 3, S, S) into float32 features: `pooled` (B, F) or `map` (B, G * G, C)."""
        if kind == "pooled":
            return self._pooled(pixels).float()
        return self._tokens(pixels)[:, -self._cells :].float()

    def cache_key(self) -> str:
        """Identify the weights and the preprocessing; see `vitdsi.backbones.base.Backbone`.

        Neither the name nor the folder of the model is part of it. Features that were computed in float16 are kept
        apart.
        """
        parts = [self._model.config.model_type, self.weights, self._preprocessing.key(), str(self.image_size)]
        return "-".join(parts + (["half"] if self._computes_in == torch.float16 else []))

    def to(self, device: torch.device) -> TransformersBackbone:
        self._computes_in = torch.float16 if device.type == "cuda" else torch.float32
        self._model.to(device, self._computes_in)
        return self

    def parameters(self) -> Iterable[Tensor]:
        parameters: Iterable[Tensor] = self._model.parameters()
        return parameters

    def _inputs(self, pixels: Tensor) -> Tensor:
        return self._preprocessing(pixels).to(self._computes_in)

    def _tokens(self, pixels: Tensor) -> Tensor:
        """The last hidden states (B, T, C)."""
        return _sequence(self._model(pixel_values=self._inputs(pixels)).last_hidden_state)

    def _pooled(self, pixels: Tensor) -> Tensor:
        """The pooled vectors (B, F)."""
        given = self._model(pixel_values=self._inputs(pixels))
        pooled = given.get("pooler_output") if self._has_pooler else None
        return _sequence(given.last_hidden_state)[:, 0] if pooled is None else pooled.flatten(1)


class TwoTowerBackbone(TransformersBackbone):
    """A frozen model of `transformers` with a tower for photos and one for text, such as CLIP and SigLIP.

    The features `pooled` are the projected embedding of the photo, a unit vector, and text features are the projected
    embedding of the text, a unit vector of the same space.
    """

    _tokenizer: Any = None

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Turn texts into float32 unit vectors (T, F), on the device of the backbone.

        Raises:
            ConfigError: the files of the model have no tokenizer that can be loaded.
        """
        if self._tokenizer is None:
            self._tokenizer = self._load_tokenizer()
        longest = getattr(self._model.config.text_config, "max_position_embeddings", None)
        # SigLIP was trained with texts of full length.
        padding = "max_length" if self._model.config.model_type.startswith("siglip") else True
        tokens = self._tokenizer(
            list(texts), padding=padding, truncation=True, max_length=longest, return_tensors="pt"
        )
        device = next(iter(self.parameters())).device
        with torch.inference_mode():
            given = self._model.get_text_features(**tokens.to(device))
        return F.normalize(_projected(given).float(), dim=-1)

    def _load_tokenizer(self) -> Any:
        import transformers

        try:
            # Without any of them, transformers would make up a tokenizer that knows no words.
            if not any((self._folder / file).is_file() for file in _TOKENIZER_FILES):
                raise FileNotFoundError(f"there is none of {', '.join(_TOKENIZER_FILES)}")
            with _quiet(transformers):
                return transformers.AutoTokenizer.from_pretrained(self._folder)
        except Exception as error:  # tokenizers need files and libraries of many kinds
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(
                f"model.backbone is {self.name!r}, whose tokenizer cannot be loaded ({reason}); add its files"
            ) from error

    def _tokens(self, pixels: Tensor) -> Tensor:
        return _sequence(self._model.vision_model(pixel_values=self._inputs(pixels)).last_hidden_state)

    def _pooled(self, pixels: Tensor) -> Tensor:
        pooled = _projected(self._model.get_image_features(pixel_values=self._inputs(pixels)))
        return F.normalize(pooled.float(), dim=-1)


def _projected(given: Any) -> Tensor:
    """The projected embeddings (B, F), which transformers returned by themselves before version 5."""
    vectors: Tensor = given if isinstance(given, Tensor) else given.pooler_output
    return vectors


def _sequence(hidden: Tensor) -> Tensor:
    """Turn hidden states (B, T, C), or those of a convolutional network (B, C, H, W), into (B, T, C)."""
    return hidden.flatten(2).transpose(1, 2) if hidden.dim() == 4 else hidden


def _cells(tokens: Tensor, config: Any, side: int) -> int:
    """Return how many of the tokens (B, T, C) are cells of a square map; 0 if the model has no such map.

    These are the last ones: the class token and registers come before the patches.
    """
    count = tokens.shape[1]
    patch = getattr(getattr(config, "vision_config", config), "patch_size", None)
    patches = (side // patch) ** 2 if isinstance(patch, int) else 0
    if patches and 0 <= count - patches <= _MOST_OTHER_TOKENS:
        return patches
    return count if int(count**0.5) ** 2 == count else 0
