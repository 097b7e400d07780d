"""An index on disk: a folder with weights (safetensors) and everything else (JSON), replaced as a whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitdsi.config import IndexConfig, config_from_dict
from vitdsi.errors import IndexFormatError, UsageError, VitdsiError
from vitdsi.files import recover_folder, replace_folder
from vitdsi.model.seq2seq import Seq2Seq
from vitdsi.trie import Trie

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Stored:
    """What an index folder holds. inputs: (N, *shape) cached model inputs, kept for later training, or None."""

    config: IndexConfig
    model: Seq2Seq
    trie: Trie
    image_ids: list[str]
    labels: list[str] | None
    report: dict[str, Any]
    inputs: Tensor | None


def write_index(path: Path, stored: Stored) -> None:
    """Write beside, fsync, rename. Refuses to replace a folder that is not an index."""
    if path.exists() and not (path / "index.json").is_file():
        raise UsageError(f"{path} exists and is not an index; give another output")
    trie = stored.trie
    with replace_folder(path) as folder:
        weights = {name: value.contiguous() for name, value in stored.model.state_dict().items()}
        save_file(weights, folder / "model.safetensors")
        save_file(
            {"codes": trie.codes, "nodes": trie.nodes, "child": trie.child}, folder / "trie.safetensors"
        )
        if stored.inputs is not None:
            save_file({"inputs": stored.inputs.contiguous()}, folder / "tokens.safetensors")
        description = {
            "format_version": FORMAT_VERSION,
            "base": trie.vocabulary.base,
            "config": asdict(stored.config),
            "image_ids": stored.image_ids,
            "labels": stored.labels,
            "report": stored.report,
            "input_shape": list(stored.model.input_shape),
        }
        (folder / "index.json").write_text(json.dumps(description, ensure_ascii=False), "utf-8")


def read_index(path: Path) -> Stored:
    """Open an index folder; IndexFormatError says what is wrong with it."""
    recover_folder(path)
    if not path.exists():
        raise UsageError(f"{path}: there is no such index; make one with: vitdsi index IMAGES -o {path}")
    if not (path / "index.json").is_file():
        raise IndexFormatError(f"{path} is not an index: it has no index.json")
    try:
        description = json.loads((path / "index.json").read_text("utf-8"))
        version = description["format_version"]
        if version > FORMAT_VERSION:
            raise IndexFormatError(
                f"{path} has format {version}, this version reads up to {FORMAT_VERSION}; upgrade vitdsi"
            )
        config = config_from_dict(description["config"])
        trie = Trie.from_tensors(load_file(path / "trie.safetensors"), description["base"])
        model = Seq2Seq(config.model, trie, tuple(description["input_shape"]))
        model.load_state_dict(load_file(path / "model.safetensors"))
        tokens = path / "tokens.safetensors"
        inputs = load_file(tokens)["inputs"] if tokens.is_file() else None
        return Stored(
            config,
            model,
            trie,
            list(description["image_ids"]),
            description["labels"],
            description["report"],
            inputs,
        )
    except IndexFormatError:
        raise
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError, VitdsiError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise IndexFormatError(f"{path} is broken ({reason}); make it again from the images") from error
