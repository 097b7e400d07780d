"""The files of a model of `transformers`: a local folder, or a snapshot of a repository of the Hugging Face hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from safetensors.torch import load_file

from vitdsi.backbones.base import weights_hash
from vitdsi.errors import ConfigError, UsageError

__all__ = ["is_checkpoint_name", "model_folder", "stored_weights_hash"]

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")
# Everything that a model, its image processor and its tokenizer are made of. Pickled weights are not fetched.
_FILES = (*_WEIGHTS, "*.json", "*.txt", "*.model")


def is_checkpoint_name(name: str) -> bool:
    """Return whether a name has the form of a model: `owner/model`, or a path with a slash or of a folder."""
    return "/" in name or os.sep in name or Path(name).is_dir()


def model_folder(name: str) -> Path:
    """Return the folder with the files of a model, which are downloaded from the hub if they are not there yet.

    What was downloaded once is used from then on, without asking the hub again.

    Args:
        name: a local folder, or the name of a repository of the hub.

    Raises:
        ConfigError: there is no such folder or repository, or it has no weights as safetensors.
        UsageError: the hub cannot be reached.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(folder, name)
    if not _HUB_NAME.fullmatch(name):
        raise ConfigError(
            f"model.backbone is {name!r}, and there is no such folder; give a folder with config.json and"
            " model.safetensors, or the name of a model on the hub, such as facebook/dinov2-small"
        )
    cached = _snapshot(name, local_files_only=True)
    if cached is not None and _is_complete(cached):
        return cached
    fetched = _snapshot(name, local_files_only=False)
    assert fetched is not None
    return _checked(fetched, name)


def stored_weights_hash(folder: Path) -> str:
    """Return the hash of the content of the safetensors in a folder, however they are distributed over files."""
    state = {}
    for file in _weight_files(folder):
        state.update(load_file(file))
    return weights_hash(state)


def _snapshot(name: str, *, local_files_only: bool) -> Path | None:
    """The folder of a snapshot; None if only local files may be used and there are none."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        return Path(
            api.snapshot_download(name, allow_patterns=list(_FILES), local_files_only=local_files_only)
        )
    except RepositoryNotFoundError as error:
        raise ConfigError(
            f"model.backbone is {name!r}, and the hub has no such model, or it is private; check the name, log in with"
            " `hf auth login`, or give a local folder"
        ) from error
    except Exception as error:  # the exceptions of the hub's client have no common base class
        if local_files_only:
            return None
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(
            f"model.backbone is {name!r}, which is not on this computer, and the hub cannot be reached ({reason}); go"
            " online once, or give a local folder with the model"
        ) from error


def _weight_files(folder: Path) -> list[Path]:
    return sorted(file for pattern in _WEIGHTS for file in folder.glob(pattern))


def _is_complete(folder: Path) -> bool:
    return (folder / "config.json").is_file() and bool(_weight_files(folder))


def _checked(folder: Path, name: str) -> Path:
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"model.backbone is {name!r}, which has no config.json; give a model of transformers"
        )
    if not _weight_files(folder):
        raise ConfigError(
            f"model.backbone is {name!r}, which has no model.safetensors, and other formats are not read; write it with"
            " save_pretrained(), or give another model"
        )
    return folder
