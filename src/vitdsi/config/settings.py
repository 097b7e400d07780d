"""Every setting, declared once: its type, range or choices, default and documentation.

The docstring under each field gives its meaning, when to change it, and the evidence for its default; the settings
reference of the documentation is generated from here. Settings that only the experiments of the paper change stand in
sections of their own (`ids.paper`, `model.paper`, `training.paper`), at the end of the file.
"""

from __future__ import annotations

import difflib
from dataclasses import field, fields, is_dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, model_validator
from pydantic.dataclasses import dataclass

from vitdsi.errors import ConfigError

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]

_AnySection = TypeVar("_AnySection", bound="Section")
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Section:
    """Base of the sections: a wrong key or value raises ConfigError, in code as in files and on the command line."""

    _section: ClassVar[str] = ""

    @model_validator(mode="wrap")
    @classmethod
    def _checked(cls: type[_AnySection], values: Any, handler: ValidatorFunctionWrapHandler) -> _AnySection:
        try:
            section: _AnySection = handler(values)
        except ValidationError as error:
            raise _explain(cls._section, error, known_keys(cls)) from error
        section.check()
        return section

    def check(self) -> None:
        """Raise ConfigError where two values do not go together."""


@dataclass(frozen=True, config=_STRICT)
class PaperIdsConfig(Section):
    """Settings of the ids that only the paper's experiments change."""

    _section: ClassVar[str] = "ids.paper."

    variable_length: bool = False
    """Write the ids of `random` and `clustered` without leading zeros and end them with EOS, as the paper does. It
    costs one more decoding step."""


@dataclass(frozen=True, config=_STRICT)
class IdsConfig(Section):
    """How images get their ids."""

    _section: ClassVar[str] = "ids."

    scheme: str = "semantic"
    """The id scheme: `semantic` (hierarchical k-means on the features), `random`, `clustered` (consecutive numbers in
    each class; needs labels), or one that you registered in `vitdsi.ids.SCHEMES`. With labels, random ids are as good
    as clustered ones; without labels, keep `semantic`, whose first digits mean something before any training."""
    base: Annotated[int, Field(ge=2)] | None = None
    """The digits are 0 to base - 1. None chooses the power of two up to 256 with which most collections need two
    digits: fewer, wider steps lose fewer neighbours and are learned faster."""
    paper: PaperIdsConfig = field(default_factory=PaperIdsConfig)


@dataclass(frozen=True, config=_STRICT)
class PaperModelConfig(Section):
    """Settings of the model that only the paper's experiments change."""

    _section: ClassVar[str] = "model.paper."

    architecture: str = "encoder_decoder"
    """`encoder_decoder`, or a name in `vitdsi.model.architectures`. `single_stack` holds patches and digits in one
    sequence, as the paper does; `model.depth` then counts its blocks and `model.decoder_depth` is not used."""
    head: str = "trie"
    """`trie`, `digits`, or a name in `vitdsi.model.heads.HEADS`. The trie head has a weight row for each branch of the
    trie; reranking by the similarity of embeddings needs it. `digits` scores a digit alike after every prefix, as DSI
    and the paper do."""
    image_size: Count = 224
    """Side in pixels of the square that the stem `pixels` reads. The paper uses 64, 160 and 256."""
    patch_size: Count = 16
    """Side in pixels of a patch of the stem `pixels`; it must divide `image_size`. The paper finds 16 best."""
    positions: Literal["learned", "sincos1d", "sincos2d"] = "sincos2d"
    """Position embeddings of patches and map cells: learned, or fixed sine-cosine in one or two dimensions. The paper
    finds fixed one-dimensional positions best; we could not tell them apart."""
    dropout: Annotated[float, Field(ge=0, le=0.95)] = 0.0
    """Dropout rate in all blocks. The paper uses 0.1. Frozen features with measured alterations need none."""


@dataclass(frozen=True, config=_STRICT)
class ModelConfig(Section):
    """What the model reads and how large it is."""

    _section: ClassVar[str] = "model."

    stem: str = "pooled"
    """What the model reads of a photo: one `pooled` vector of the frozen backbone, the cells of its last feature `map`,
    or the `pixels` themselves in patches; or a name that you registered in `vitdsi.model.stems.STEMS`. Pixels need no
    backbone, but all has to be learned. With labels and without, `map` was worse than `pooled` at every depth from 0 to
    4 and took longer to train."""
    backbone: str = "efficientnet-lite0"
    """The frozen network that turns photos into features: a name in `vitdsi.backbones.BACKBONES`, or a vision model of
    `transformers`, by its name on the Hugging Face hub, such as `facebook/dinov2-small`, or by its folder."""
    embed_dim: Count = 128
    """Width of encoder and decoder; a multiple of `num_heads`."""
    depth: Annotated[int, Field(ge=0)] = 0
    """Encoder blocks. A pooled vector needs none; use 1 to 6 with `stem=map` or `stem=pixels`."""
    decoder_depth: Count = 1
    """Decoder blocks. Each costs every search one more attention per digit."""
    num_heads: Count = 4
    """Attention heads of each block."""
    mlp_dim: Count = 256
    """Hidden width of the feed-forward layers, usually twice `embed_dim`."""
    embedding_dim: Count = 512
    """Width of the embedding of an image and of each row of the trie head. It is lowered for very large collections
    (see `vitdsi.collection.resolve`)."""
    category_dim: Annotated[int, Field(ge=0)] | None = None
    """Numbers of the embedding that compare what photos show; the others compare pictures. None takes a quarter of
    `embedding_dim`. Only the stem `pooled` has both; 0 leaves the part for categories out."""
    prototypes: Annotated[int, Field(ge=0)] = 32
    """Additional rows of a branch that leads to many images, which then acts as a mixture. With fewer, an index with
    classes has worse results and finds fewer altered copies. They are lowered for large collections (see
    `vitdsi.collection.resolve`)."""
    paper: PaperModelConfig = field(default_factory=PaperModelConfig)

    @property
    def categories(self) -> int:
        """The numbers of an embedding that compare what photos show, for stems that have such a part."""
        return self.embedding_dim // 4 if self.category_dim is None else self.category_dim

    @property
    def pictures(self) -> int:
        """The numbers of an embedding that compare pictures."""
        return self.embedding_dim - self.categories

    def check(self) -> None:
        """Raise ConfigError where the heads do not divide the width, or nothing is left to compare pictures by."""
        if self.categories >= self.embedding_dim:
            raise ConfigError(
                f"model.category_dim is {self.category_dim}; it must be below model.embedding_dim, {self.embedding_dim}"
            )
        if self.embed_dim % self.num_heads:
            raise ConfigError(
                f"model.embed_dim is {self.embed_dim}, which is not a multiple of model.num_heads, {self.num_heads};"
                f" choose for example {self.num_heads * max(1, self.embed_dim // self.num_heads)}"
            )


@dataclass(frozen=True, config=_STRICT)
class PaperTrainingConfig(Section):
    """Settings of the training that only the paper's experiments change."""

    _section: ClassVar[str] = "training.paper."

    schedule: Literal["joint", "sequential"] = "joint"
    """`joint` mixes indexing and retrieval examples in each batch. `sequential` is the paper's: indexing until
    `target_accuracy`, then retrieval, which forgets the own ids."""
    target: Literal["marginal", "sampled"] = "marginal"
    """`marginal` is the exact distribution of the next digit over all relevant ids that share the prefix; `sampled` is
    the digit of one sampled relevant id, as in the paper."""
    constrained: bool = True
    """Normalise the scores over the digits that the trie allows, as search does. The paper normalises over all."""
    target_accuracy: Share = 0.995
    """The indexing accuracy that must be reached before a schedule may end by itself. The paper uses 0.98."""
    retrieval_epochs: Annotated[float, Field(ge=0)] | None = None
    """Limit of the retrieval phase of `schedule=sequential`, in epochs; the paper allows 75."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay (AdamW) of matrices that do not start from the features. With an earlier default, it made
    no difference on imagenette."""
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    """Steps over which the learning rate rises from zero. With an earlier default, MAP varied by .009 from 1 to 200."""
    cooldown: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of the steps over which the learning rate falls to zero at the end. With an earlier default, MAP varied by
    .002 from .1 to .5."""


@dataclass(frozen=True, config=_STRICT)
class TrainingConfig(Section):
    """The training loop, its limits, and the teacher of label-free retrieval."""

    _section: ClassVar[str] = "training."

    batch_size: Count = 256
    """Examples in a batch."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    """Peak learning rate of AdamW. Lower it for `stem=pixels` (the paper uses 5e-4)."""
    row_rate: Annotated[float, Field(ge=0)] = 0.1
    """Factor on the learning rate of parameters that start from the features, such as the rows of the trie head. At 1
    they lose what they took over from the features."""
    max_epochs: Annotated[float, Field(ge=0)] | None = None
    """Limit in epochs, counted in indexed images. None, without a limit in minutes, takes it from the size of the
    collection (see `vitdsi.collection.resolve`)."""
    minutes: Annotated[float, Field(ge=0)] | None = None
    """Limit in minutes of training. With both limits, training ends at the first one."""
    retrieval_ratio: Share = 0.5
    """Share of retrieval examples in a batch, as DSI's r. It is raised where more photos than the indexed ones train
    retrieval, so that each photo is drawn as often."""
    augment_prob: Share = 0.8
    """Share of the examples whose photo is shown altered. With an earlier default, .007 of the altered copies were lost
    without them."""
    augment_sample: Share = 0.25
    """Share of the images of which an altered copy passes the backbone, to measure what alterations do to features and
    for the held-out loss; between 32 and 512 copies in all."""
    hard_views: Annotated[int, Field(ge=0)] = 3
    """Hard views of each image that pass the backbone: the picture in perspective on another photo, in other light,
    blurred, and so on (see `vitdsi.photos.hard_views`). The model learns from them how its pictures look in photos of
    them. Each costs a pass of the backbone at the first build; their features are cached. 0 reads none. Only the stem
    `pooled` uses them."""
    neighbours: Count = 200
    """Neighbours of an image that count as relevant without labels, at most a tenth of the collection."""
    temperature: Annotated[float, Field(gt=0)] = 0.07
    """Softmax temperature of the neighbours' cosines. Softer suits a few large classes, sharper many small ones."""
    self_weight: Share = 0.9
    """Relevance of an image to itself without labels; its neighbours share the rest."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the encoder and the decoder in training; the scores of ids are always float32. `bfloat16` is made
    for GPUs, where it was not measured yet; on a CPU it is slower than float32."""
    evaluate_every: Count = 50
    """Steps between two evaluations of the indexing accuracy and the held-out retrieval loss."""
    patience: Annotated[int, Field(ge=0)] = 6
    """Evaluations without a lower held-out retrieval loss before the cooldown begins."""
    paper: PaperTrainingConfig = field(default_factory=PaperTrainingConfig)


@dataclass(frozen=True, config=_STRICT)
class IndexConfig(Section):
    """Everything that can be chosen about an index."""

    labels: Literal["none", "folder"] = "none"
    """Which images are relevant to an image: those with the nearest category vectors (`none`), or those of its class
    (`folder`: the first sub-folder is the class)."""
    seed: Annotated[int, Field(ge=0)] = 0
    """One seed gives one result on one machine."""
    keypoints: Annotated[int, Field(ge=0)] = 300
    """Keypoints of each photo, by which a search verifies that a result shows the same thing as the query; 0 for none.
    Each takes 20 bytes."""
    thumbnails: bool = True
    """Keep a small grey picture of each image, by which near-identical images are found. Each takes 182 bytes."""
    vector_bytes: Annotated[int, Field(ge=1)] | None = 128
    """Bytes that the vector of an image takes in the index, lowered to a divisor of `model.embedding_dim`: after
    training, the rows of the trie head become codes of a product quantizer. None keeps floats, four bytes a number."""
    device: str = "auto"
    """Where to compute: `cpu`, `cuda`, or `auto` for CUDA where there is one."""
    ids: IdsConfig = field(default_factory=IdsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


def known_keys(section: type[Section], prefix: str | None = None) -> list[str]:
    """The dotted keys of a section and of the sections in it, in the order of their declaration."""
    start = section._section if prefix is None else prefix
    keys: list[str] = []
    for entry in fields(section):
        inner = entry.default_factory
        if is_dataclass(inner):
            assert isinstance(inner, type)
            keys += known_keys(inner, f"{start}{entry.name}.")
        else:
            keys.append(f"{start}{entry.name}")
    return keys


def _explain(section: str, error: ValidationError, known: list[str]) -> ConfigError:
    """One line for the first mistake: the key, the value, and what is allowed."""
    first = error.errors()[0]
    key = section + ".".join(str(part) for part in first["loc"] if isinstance(part, str) and part in _NAMES)
    kind, value, limits = first["type"], first["input"], first.get("ctx", {})
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        key = section + str(first["loc"][-1])
        return unknown_key(key, known)
    if kind == "literal_error":
        choices = limits["expected"].replace("'", "").replace(" or ", ", ")
        return ConfigError(f"{key} is {value!r}; choose one of {choices}")
    if kind in ("greater_than_equal", "less_than_equal", "greater_than", "less_than"):
        bounds = {"ge": "at least", "le": "at most", "gt": "above", "lt": "below"}
        name, bound = next(iter(limits.items()))
        return ConfigError(f"{key} is {value}; it must be {bounds[name]} {bound}")
    if kind in ("dataclass_type", "dataclass_exact_type"):
        return ConfigError(f"{key.rstrip('.')} is {value!r}; it is a section, so give it keys and values")
    message = first["msg"][0].lower() + first["msg"][1:]
    return ConfigError(f"{key} is {value!r}: {message}")


def unknown_key(key: str, known: list[str]) -> ConfigError:
    """The error for a key that does not exist, with the nearest one that does."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"keys are {', '.join(known)}"
    return ConfigError(f"unknown configuration key {key!r}; {hint}")


_NAMES = {part for key in known_keys(IndexConfig) for part in key.split(".")}
