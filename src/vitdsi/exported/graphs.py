"""The two graphs of an exported index, run by ONNX Runtime: reading a photo, and one step of the decoder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitdsi.errors import IndexFormatError, UsageError

__all__ = ["READ", "STEP", "Graphs", "is_installed"]

READ, STEP = "read.onnx", "step.onnx"

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


def is_installed() -> bool:
    """Return whether ONNX Runtime is installed, without importing it."""
    from importlib.util import find_spec

    return find_spec("onnxruntime") is not None


class Graphs:
    """The sessions of both graphs.

    Args:
        folder: the exported index.

    Raises:
        UsageError: ONNX Runtime is not installed.
        IndexFormatError: it cannot run the graphs.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UsageError(
                "an exported index is searched with ONNX Runtime; pip install 'vitdsi[onnx]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _threads()
        options.enable_cpu_mem_arena = False  # One photo at a time needs no memory held in advance.
        try:
            self._read, self._step = (
                onnxruntime.InferenceSession(folder / name, options, providers=["CPUExecutionProvider"])
                for name in (READ, STEP)
            )
        except Exception as error:  # The classes of its errors are not public.
            reason = str(error).strip().partition("\n")[0]
            raise IndexFormatError(
                f"{folder} has graphs that ONNX Runtime cannot run ({reason}); export the index again"
            ) from error
        self._step_inputs = {entry.name for entry in self._step.get_inputs()}

    def read(self, pixels: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Read a photo (3, S, S): its memory (2 D, H, T, W) and its embedding (E,)."""
        memory, embedding = self._read.run(["memory", "embedding"], {"pixels": pixels[None]})
        return memory[:, 0], embedding[0]

    def step(
        self, tokens: Array, depth: int, embedding: Floats, memory: Floats, past: Floats
    ) -> tuple[Floats, Floats]:
        """One step of the decoder; see `vitdsi.exported.decoding.Step`."""
        inputs = {
            "tokens": tokens.astype(np.int64)[None],
            "position": np.array([depth]),
            "embedding": embedding[None],
            "memory": memory[:, None],
            "past": past[:, None],
        }
        given, present = self._step.run(
            ["given", "present"], {name: inputs[name] for name in self._step_inputs}
        )
        return given[0], present[:, 0]


def _threads() -> int:
    """Return how many threads compute: OMP_NUM_THREADS, or 0 for as many as ONNX Runtime chooses."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() else 0
