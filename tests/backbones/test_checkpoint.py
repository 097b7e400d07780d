from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vitdsi.backbones.checkpoint import is_checkpoint_name, model_folder, stored_weights_hash
from vitdsi.errors import ConfigError, UsageError

_STATE = {"a": torch.arange(6.0), "b": torch.ones(2, 2)}


def write(folder: Path, config: bool = True, weights: bool = True) -> Path:
    folder.mkdir()
    if config:
        (folder / "config.json").write_text("{}")
    if weights:
        save_file(_STATE, folder / "model.safetensors")
    return folder


def test_names_with_a_slash_and_folders_are_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(tmp_path / "models"))
    (tmp_path / "models" / "mine").mkdir()
    assert all(map(is_checkpoint_name, ("facebook/dinov2-small", "./x", str(tmp_path), "mine")))
    assert not is_checkpoint_name("efficientnet-lite1")


def test_a_complete_folder_is_used_as_it_is(tmp_path: Path) -> None:
    folder = write(tmp_path / "model")
    assert model_folder(str(folder)) == folder


def test_hash_does_not_depend_on_how_weights_are_distributed(tmp_path: Path) -> None:
    whole, split = write(tmp_path / "whole"), write(tmp_path / "split", weights=False)
    save_file({"b": _STATE["b"]}, split / "model-00001-of-00002.safetensors")
    save_file({"a": _STATE["a"]}, split / "model-00002-of-00002.safetensors")
    assert stored_weights_hash(whole) == stored_weights_hash(split)
    save_file({"a": _STATE["a"] + 1}, split / "model-00002-of-00002.safetensors")
    assert stored_weights_hash(whole) != stored_weights_hash(split)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", weights=False)
    torch.save(_STATE, folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"has no model\.safetensors, and other formats are not read"):
        model_folder(str(folder))


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config\.json; give a model of transformers"):
        model_folder(str(write(tmp_path / "model", config=False)))


@pytest.mark.parametrize("name", ["./nothing", "/no/such/folder", "a/b/c"])
def test_a_path_without_a_folder_is_refused_before_the_hub_is_asked(name: str) -> None:
    with pytest.raises(ConfigError, match="there is no such folder; give a folder with config"):
        model_folder(name)


def test_a_hub_that_cannot_be_reached_is_an_error_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(
        UsageError, match=r"the hub cannot be reached \(.+\); go online once, or give a local folder"
    ):
        model_folder("facebook/dinov2-small")
