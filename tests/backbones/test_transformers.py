"""Agreement with `transformers` itself: its own image processor and model, on models in its own file format."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers_images import photo
from helpers_transformers import KINDS, SIDE, library, model, processor, write_model
from PIL import Image
from safetensors.torch import load_file, save_file

from vitdsi.backbones import backbone_named
from vitdsi.backbones.base import Backbone, TextBackbone
from vitdsi.backbones.reader import FeatureReader
from vitdsi.errors import ConfigError, UsageError

TOWERS = ("clip", "siglip")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    library()
    root = tmp_path_factory.mktemp("models")
    return {kind: write_model(root / kind, kind) for kind in KINDS}


def ours(folder: Path, kind: str, image: Image.Image) -> torch.Tensor:
    reader = FeatureReader(kind, backbone=str(folder))
    return reader.features(reader.squares([image]))[0]


@torch.inference_mode()
def theirs(folder: Path, kind: str, image: Image.Image) -> tuple[Any, torch.Tensor]:
    """The pooled vector and the hidden states of the patches, by `transformers` alone."""
    tf = library()
    pixels = tf.AutoImageProcessor.from_pretrained(folder, backend="pil")(image, return_tensors="pt")
    network = tf.AutoModel.from_pretrained(folder)
    if kind in TOWERS:
        words = tf.AutoTokenizer.from_pretrained(folder)("a photo", return_tensors="pt")
        given = network(**pixels, **words)
        hidden = given.vision_model_output.last_hidden_state[0]
        return given.image_embeds[0], hidden[1:] if kind == "clip" else hidden
    given = network(**pixels)
    hidden = given.last_hidden_state[0]
    return given.pooler_output[0], hidden.flatten(1).T if kind == "convnext" else hidden[1:]


@pytest.mark.parametrize("kind", KINDS)
def test_features_of_a_square_photo_are_those_of_transformers(folders: dict[str, Path], kind: str) -> None:
    image = photo(seed=1, width=100, height=100)
    pooled, tokens = theirs(folders[kind], kind, image)
    torch.testing.assert_close(ours(folders[kind], "pooled", image), pooled, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(ours(folders[kind], "map", image), tokens, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", ["dinov2", "clip", "convnext"])
def test_processors_that_crop_see_the_same_of_a_wide_photo(folders: dict[str, Path], kind: str) -> None:
    image = photo(seed=1, width=140, height=90)
    pooled, _ = theirs(folders[kind], kind, image)
    other, _ = theirs(folders[kind], kind, photo(seed=2, width=140, height=90))
    # They round the longer side to whole pixels before they crop.
    difference = (ours(folders[kind], "pooled", image) - pooled).norm()
    assert difference < 0.1 * (other - pooled).norm()


def test_processors_that_distort_see_the_centre_of_a_wide_photo(folders: dict[str, Path]) -> None:
    image = photo(seed=1, width=140, height=90)
    centre = image.crop((25, 0, 115, 90))
    pooled, _ = theirs(folders["vit"], "vit", centre)
    torch.testing.assert_close(ours(folders["vit"], "pooled", image), pooled, atol=2e-3, rtol=0)


@pytest.mark.parametrize("kind", TOWERS)
def test_text_features_are_those_of_transformers(folders: dict[str, Path], kind: str) -> None:
    tf = library()
    backbone = backbone_named(str(folders[kind]))
    assert isinstance(backbone, TextBackbone)
    texts = ["a photo of red", "blue", "a photo of a photo of a photo of a photo of yellow"]
    with torch.inference_mode():
        words = tf.AutoTokenizer.from_pretrained(folders[kind])(
            texts, padding="max_length", max_length=12, truncation=True, return_tensors="pt"
        )
        pixels = torch.zeros(1, 3, SIDE, SIDE)
        expected = tf.AutoModel.from_pretrained(folders[kind])(pixel_values=pixels, **words).text_embeds
    torch.testing.assert_close(backbone.text_features(texts), expected, atol=1e-5, rtol=1e-4)


def test_only_two_towers_read_text(folders: dict[str, Path]) -> None:
    assert [kind for kind in KINDS if isinstance(backbone_named(str(folders[kind])), TextBackbone)] == [
        *TOWERS
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_backbone_follows_the_protocol(folders: dict[str, Path], kind: str) -> None:
    backbone: Backbone = backbone_named(str(folders[kind]))
    pixels = torch.zeros(2, 3, backbone.image_size, backbone.image_size, dtype=torch.uint8)
    for name, shape in backbone.shapes.items():
        features = backbone.features(pixels, name)
        assert features.shape == (2, *shape) and features.dtype == torch.float32
    assert all(not parameter.requires_grad for parameter in backbone.parameters())
    assert backbone.to(torch.device("cpu")) is backbone


def test_half_precision_is_near_and_has_a_key_of_its_own(folders: dict[str, Path]) -> None:
    """A GPU computes in float16, which a CPU can do as well."""
    backbone: Any = backbone_named(str(folders["vit"]))
    pixels = torch.randint(0, 256, (1, 3, SIDE, SIDE), dtype=torch.uint8)
    full, key = backbone.features(pixels, "pooled"), backbone.cache_key()
    backbone._computes_in = torch.float16
    backbone._model.half()
    half = backbone.features(pixels, "pooled")
    assert half.dtype == torch.float32
    assert F.cosine_similarity(half, full) > 0.999
    assert backbone.cache_key() == f"{key}-half"


def test_key_depends_on_the_weights_and_not_on_the_name(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folders["vit"], tmp_path / "copy"))
    before, same = backbone_named(str(folders["vit"])), backbone_named(str(copy))
    assert same.weights == before.weights and same.cache_key() == before.cache_key()
    state = load_file(copy / "model.safetensors")
    state["embeddings.cls_token"] += 1e-3
    save_file(state, copy / "model.safetensors", {"format": "pt"})
    changed = backbone_named(str(copy))
    assert changed.weights != before.weights and changed.cache_key() != before.cache_key()


def test_key_depends_on_the_preprocessing(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folders["vit"], tmp_path / "copy"))
    other = processor("vit")
    other.image_mean = [0.4, 0.5, 0.6]
    other.save_pretrained(copy)
    before, changed = backbone_named(str(folders["vit"])), backbone_named(str(copy))
    assert changed.weights == before.weights and changed.cache_key() != before.cache_key()


def test_features_are_read_from_the_cache(folders: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    photo(seed=1).save(path)
    first = FeatureReader("pooled", backbone=str(folders["dinov2"]), cache=tmp_path / "cache").load([path])
    reader = FeatureReader("pooled", backbone=str(folders["dinov2"]), cache=tmp_path / "cache")
    reader.backbone.features = None  # type: ignore[method-assign, assignment]
    assert torch.equal(reader.load([path]).features, first.features)


def test_first_token_replaces_a_pooler_that_the_weights_lack(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    tf = library()
    without = write_model(
        tmp_path / "without", "vit", tf.ViTModel(model("vit").config, add_pooling_layer=False)
    )
    image = photo(seed=1, width=100, height=100)
    with torch.inference_mode():
        pixels = processor("vit")(image, return_tensors="pt")
        network = tf.ViTModel.from_pretrained(without, add_pooling_layer=False)
        expected = network(**pixels).last_hidden_state[0, 0]
    torch.testing.assert_close(ours(without, "pooled", image), expected, atol=1e-4, rtol=1e-3)


def test_missing_weights_are_an_error(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folders["dinov2"], tmp_path / "copy"))
    state = load_file(copy / "model.safetensors")
    del state["layernorm.weight"]
    save_file(state, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ConfigError, match=r"lacks 1 weights, such as layernorm\.weight; give a complete model"
    ):
        backbone_named(str(copy))


def test_a_model_of_text_is_an_error(tmp_path: Path) -> None:
    tf = library()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    tf.BertModel(tf.BertConfig(vocab_size=20, **sizes)).save_pretrained(tmp_path / "bert")
    with pytest.raises(ConfigError, match="cannot be loaded as a vision model"):
        backbone_named(str(tmp_path / "bert"))
    processor("vit").save_pretrained(tmp_path / "bert")
    with pytest.raises(ConfigError, match="reads no photos of 32 pixels"):
        backbone_named(str(tmp_path / "bert"))


def test_a_missing_tokenizer_is_an_error(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folders["clip"], tmp_path / "copy"))
    for file in copy.glob("tokenizer*"):
        file.unlink()
    backbone = backbone_named(str(copy))
    assert isinstance(backbone, TextBackbone)
    with pytest.raises(ConfigError, match="whose tokenizer cannot be loaded"):
        backbone.text_features(["red"])


def test_a_missing_library_is_an_error_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(UsageError, match=r"needs transformers; pip install 'vitdsi\[transformers\]'"):
        backbone_named("facebook/dinov2-small")
