"""The two ONNX graphs of an index: reading a photo, and one step of the decoder.

They are traced, so they hold exactly the operations that torch runs. A photo is read alone, as by `FeatureReader`. In a
step of the decoder, the batch, the beams and the number of tokens that were written are dynamic.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vitdsi.backbones.base import Backbone
from vitdsi.backbones.features import to_inputs
from vitdsi.errors import UsageError
from vitdsi.exported.graphs import READ, STEP
from vitdsi.model.architectures import DecoderState, KeysValues
from vitdsi.model.heads import TrieHead
from vitdsi.model.seq2seq import Seq2Seq

__all__ = ["write_graph", "write_graphs"]

_OPSET = 17


class _Read(nn.Module):
    """Pixels (1, 3, S, S) to the memory (2 D, 1, H, T, W) of D layers and the embedding (1, E)."""

    def __init__(self, backbone: Backbone, kind: str, model: Seq2Seq) -> None:
        super().__init__()
        self.backbone, self.kind, self.model = backbone, kind, model

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        memory, embedding = self.model.encode(to_inputs(self.backbone.features(pixels, self.kind)))
        return _stacked(memory), embedding


class _Step(nn.Module):
    """One step of the decoder: what the head reads, and the past (2 D, B, K, H, t + 1, W)."""

    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        self.decoder, self.head = model.decoder, model.head

    def forward(
        self, tokens: Tensor, position: Tensor, embedding: Tensor, memory: Tensor, past: Tensor
    ) -> tuple[Tensor, Tensor]:
        state = DecoderState(_pairs(memory), _pairs(past))
        hidden = self.decoder.step(tokens, position, state)  # type: ignore[arg-type]  # a tensor is an index as well
        if isinstance(self.head, TrieHead):
            given = (embedding[:, None] + self.head.steer(hidden)) * self.head.log_scale.exp()
        else:
            given = self.head(hidden, None, tokens)
        return given, _stacked(state.past)


def _stacked(layers: Sequence[KeysValues]) -> Tensor:
    return torch.stack([part for layer in layers for part in layer])


def _pairs(stacked: Tensor) -> list[KeysValues]:
    parts = stacked.unbind(0)
    return list(zip(parts[::2], parts[1::2], strict=True))


@torch.no_grad()
def write_graphs(folder: Path, model: Seq2Seq, backbone: Backbone, kind: str) -> None:
    """Write both graphs of a model on the CPU, in float32.

    Raises:
        UsageError: the package `onnx` is not installed.
    """
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise UsageError("exporting an index needs onnx; pip install 'vitdsi[onnx]'") from error
    size = backbone.image_size
    pixels = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    read, step = _Read(backbone, kind, model).eval(), _Step(model).eval()
    memory, embedding = read(pixels)
    write_graph(folder / READ, read, {"pixels": pixels}, ["memory", "embedding"], {})
    batch, beams, written = 2, 3, 2
    memory, embedding = memory.repeat(1, batch, 1, 1, 1), embedding.repeat(batch, 1)
    layers, _, heads, _, width = memory.shape
    write_graph(
        folder / STEP,
        step,
        {
            "tokens": torch.zeros(batch, beams, dtype=torch.long),
            "position": torch.zeros(1, dtype=torch.long),
            "embedding": embedding,
            "memory": memory,
            "past": torch.zeros(layers, batch, beams, heads, written, width),
        },
        ["given", "present"],
        {
            "tokens": {0: "batch", 1: "beams"},
            "embedding": {0: "batch"},
            "memory": {1: "batch"},
            "past": {1: "batch", 2: "beams", 4: "written"},
            "given": {0: "batch", 1: "beams"},
            "present": {1: "batch", 2: "beams", 4: "next"},
        },
    )


def write_graph(
    path: Path,
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: list[str],
    dynamic: Mapping[str, Mapping[int, str]],
) -> None:
    """Write a module as an ONNX graph, with inputs by their names, and names of the sizes that are dynamic."""
    with warnings.catch_warnings():
        # The exporter that is based on torch.export takes twenty times as long for the same graph.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes=dynamic,
            opset_version=_OPSET,
            dynamo=False,
        )
