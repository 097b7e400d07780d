"""All settings: dataclasses, YAML files in configs/, `key=value` overrides. Every key is named in one place, here."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from vitdsi.errors import ConfigError


@dataclass
class IdsConfig:
    """How images get their ids.

    scheme: random, clustered, semantic or residual. base: digits are 0 .. base - 1; None chooses it from the size of
    the collection. variable_length: ids have no leading zeros and end with EOS (random and clustered).
    """

    scheme: str = "semantic"
    base: int | None = None
    variable_length: bool = False


@dataclass
class ModelConfig:
    """Sizes of the model.

    architecture: encoder_decoder, or single_stack (patches and digits in one sequence; depth is its blocks, and
    decoder_depth means nothing).
    stem: pooled, map (a frozen backbone's features) or pixels (patches of patch_size in image_size squares).
    positions: learned, sincos2d or sincos1d. depth and decoder_depth: encoder and decoder blocks. memory_tokens:
    tokens read from a pooled vector. head: trie or digits; head_dim, head_scale and prototypes are the trie head's,
    and head_dim is lowered for very large collections (`build.sized`).
    """

    architecture: str = "encoder_decoder"
    stem: str = "pooled"
    image_size: int = 224
    patch_size: int = 16
    positions: str = "sincos2d"
    embed_dim: int = 128
    depth: int = 0
    decoder_depth: int = 1
    num_heads: int = 4
    mlp_dim: int = 256
    dropout: float = 0.0
    memory_tokens: int = 4
    head: str = "trie"
    head_dim: int = 384
    head_scale: float = 20.0
    prototypes: int = 32


@dataclass
class TrainingConfig:
    """The one training loop.

    schedule: joint (indexing and retrieval in each batch) or sequential (indexing until target_accuracy, then
    retrieval, as in the paper). retrieval_ratio: share of retrieval examples in a joint batch, raised where more
    photos than the indexed train retrieval (`build.sized`). target: marginal (exact prefix-marginal) or sampled
    (one-hot of one sampled relevant id). views: share of augmented inputs.
    constrained: scores are normalised over the tokens the trie allows, as when searching. epochs count the indexed
    images; max_epochs and minutes are limits, and where both are None the size decides (`build.sized`). patience:
    evaluations without a better held-out retrieval loss before the rate is brought to zero over the last `cooldown`
    share of the steps taken.
    row_rate scales the learning rate of the trie head's rows, which start from the features. neighbours,
    temperature and own_mass describe the teacher of label-free retrieval. measured_views: share of the images of
    which an altered copy is passed through the backbone, to learn what an alteration does to features and for the
    held-out loss.
    """

    schedule: str = "joint"
    batch_size: int = 256
    learning_rate: float = 3e-3
    row_rate: float = 0.1
    weight_decay: float = 0.01
    warmup_steps: int = 50
    max_epochs: float | None = None
    retrieval_epochs: float | None = None
    minutes: float | None = None
    retrieval_ratio: float = 0.5
    target: str = "marginal"
    views: float = 0.8
    constrained: bool = True
    target_accuracy: float = 0.995
    evaluate_every: int = 50
    patience: int = 6
    cooldown: float = 0.3
    neighbours: int = 200
    temperature: float = 0.07
    own_mass: float = 0.9
    measured_views: float = 0.25
    gradient_clip: float = 1.0


@dataclass
class IndexConfig:
    """Everything that `vitdsi index` can be told.

    labels: none (relevance is the teacher's neighbours) or folder (the first sub-folder is the class).
    """

    labels: str = "none"
    seed: int = 0
    device: str = "auto"
    ids: IdsConfig = field(default_factory=IdsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


_CHOICES = {
    "labels": ("none", "folder"),
    "model.architecture": ("encoder_decoder", "single_stack"),
    "model.stem": ("pooled", "map", "pixels"),
    "model.positions": ("learned", "sincos2d", "sincos1d"),
    "model.head": ("trie", "digits"),
    "training.schedule": ("joint", "sequential"),
    "training.target": ("marginal", "sampled"),
}


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> IndexConfig:
    """Defaults, then a YAML file (a path, or the name of one in configs/), then `key=value` overrides.

    Raises ConfigError for an unknown key (with the nearest name), a wrong type, or a value outside its choices.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError  # type: ignore[import-untyped]

    for text in overrides:
        if "=" not in text:
            raise ConfigError(f"override {text!r} has no '='; write for example training.batch_size=128")
    merged = OmegaConf.structured(IndexConfig)
    try:
        if path is not None:
            loaded = OmegaConf.load(_find(path))
            if not OmegaConf.is_dict(loaded):
                raise ConfigError(
                    f"config {str(path)!r} is a list; it must map keys to values, as in 'seed: 1'"
                )
            merged = OmegaConf.merge(merged, loaded)
        merged = OmegaConf.merge(merged, OmegaConf.from_dotlist(list(overrides)))
        config = OmegaConf.to_object(merged)
    except YAMLError as error:
        raise ConfigError(f"configuration is not valid YAML: {' '.join(str(error).split())}") from error
    except (OmegaConfBaseException, ValueError) as error:
        raise _explain(error) from error
    assert isinstance(config, IndexConfig)
    check(config)
    return config


def check(config: IndexConfig) -> None:
    """Raise ConfigError for a value outside its choices or range."""
    for key, choices in _CHOICES.items():
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if value not in choices:
            raise ConfigError(f"{key} is {value!r}; choose one of {', '.join(choices)}")
    for key, number, low, high in (
        ("training.retrieval_ratio", config.training.retrieval_ratio, 0.0, 1.0),
        ("training.own_mass", config.training.own_mass, 0.0, 1.0),
        ("training.views", config.training.views, 0.0, 1.0),
        ("training.target_accuracy", config.training.target_accuracy, 0.0, 1.0),
        ("model.dropout", config.model.dropout, 0.0, 0.95),
    ):
        if not low <= number <= high:
            raise ConfigError(f"{key} is {number}; it must be between {low} and {high}")
    for key, count in (
        ("training.batch_size", config.training.batch_size),
        ("training.neighbours", config.training.neighbours),
        ("training.evaluate_every", config.training.evaluate_every),
        ("model.embed_dim", config.model.embed_dim),
        ("model.num_heads", config.model.num_heads),
    ):
        if count < 1:
            raise ConfigError(f"{key} is {count}; it must be at least 1")
    if config.ids.base is not None and config.ids.base < 2:
        raise ConfigError(
            f"ids.base is {config.ids.base}; it must be at least 2, or null to let the size decide"
        )
    if config.model.embed_dim % config.model.num_heads:
        raise ConfigError(
            f"model.embed_dim {config.model.embed_dim} is no multiple of model.num_heads {config.model.num_heads}"
        )


def config_from_dict(values: dict[str, Any]) -> IndexConfig:
    """The config that `dataclasses.asdict` wrote; ConfigError for keys of another version."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = OmegaConf.to_object(
            OmegaConf.merge(OmegaConf.structured(IndexConfig), OmegaConf.create(values))
        )
    except OmegaConfBaseException as error:
        raise _explain(error) from error
    assert isinstance(config, IndexConfig)
    check(config)
    return config


def _find(path: str | Path) -> str:
    if Path(path).is_file():
        return str(path)
    folder = resources.files("vitdsi") / "configs"
    known = sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )
    if str(path) in known:
        return str(folder / f"{path}.yaml")
    raise ConfigError(f"config {str(path)!r} is neither a file nor one of {', '.join(known)}")


def _known_keys() -> list[str]:
    keys = []
    for name, value in vars(IndexConfig()).items():
        keys += [f"{name}.{inner}" for inner in vars(value)] if hasattr(value, "__dict__") else [name]
    return keys


def _explain(error: Exception) -> ConfigError:
    key = getattr(error, "full_key", None) or ""
    message = str(error).splitlines()[0]
    known = _known_keys()
    is_section = any(name.startswith(f"{key}.") for name in known)
    if key and key not in known and not is_section:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else f"; keys are {', '.join(known)}"
        return ConfigError(f"unknown configuration key {key!r}{hint}")
    return ConfigError(f"configuration key {key!r}: {message}" if key else f"configuration: {message}")
