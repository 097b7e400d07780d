from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitdsi.errors import UsageError


def _photos(folder: Path, classes: int = 3, photos: int = 24) -> Path:
    """Photos of blocks of colours; those of a class have similar colours."""
    for c in range(classes):
        (folder / f"class{c}").mkdir(parents=True)
        base = np.random.default_rng([c, 99]).integers(0, 256, size=(3, 3, 3))
        for i in range(photos):
            noise = np.random.default_rng([c, i]).integers(-60, 60, size=(3, 3, 3))
            pixels = np.clip(base + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(
                folder / f"class{c}/{i}.png"
            )
    return folder


def test_values_are_read_as_they_were_written_and_git_ignores_them(tmp_path: Path) -> None:
    import quality

    path = tmp_path / "measured" / "cell" / f"{quality.slug('raw + diffusion')}.npz"
    assert path.name == "raw-diffusion.npz"
    quality.write_values(path, "raw + diffusion", {"MAP": np.array([0.25, 1.0])}, {"fit s": 1.0}, ["seed=1"])
    about, values = quality.read_values(path)
    assert about == {"name": "raw + diffusion", "facts": {"fit s": 1.0}, "overrides": []}
    assert values["MAP"].tolist() == [0.25, 1.0] and list(values) == ["MAP"]
    assert (tmp_path / "measured" / ".gitignore").read_text() == "*\n"


def test_methods_are_chosen_by_the_beginnings_of_their_names() -> None:
    from methods import product_methods
    from quality import chosen, slug

    from vitdsi.evaluation.peers import PEERS

    names = [*PEERS, *product_methods()]
    assert chosen(names, "") == names
    assert chosen(names, None) == []
    assert chosen(names, "raw cosine;product: steering") == ["raw cosine", "product: steering frozen"]
    assert len({slug(name) for name in names}) == len(names)


def test_methods_with_the_same_settings_follow_each_other() -> None:
    from methods import product_methods

    settings = [tuple(setting) for _, setting, _ in product_methods().values()]
    starts = [setting for n, setting in enumerate(settings) if n == 0 or setting != settings[n - 1]]
    assert len(set(starts)) == len(starts)


def test_the_steering_of_the_unsteered_head_is_not_trained() -> None:
    import torch
    from methods import UnsteeredTrieHead

    from vitdsi.config import ModelConfig
    from vitdsi.ids.trie import Trie

    head = UnsteeredTrieHead(ModelConfig(), Trie(np.arange(4)[:, None], 4))
    assert not any(parameter.requires_grad for parameter in head.steer.parameters())
    assert head.leaves.weight.requires_grad
    assert torch.count_nonzero(head.steer.weight) == 0


@pytest.mark.slow
def test_one_command_measures_a_set_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import quality

    folder, output = _photos(tmp_path / "photos"), tmp_path / "results"
    command = ["quality.py", f"toy={folder}", "--queries", "validation", "--sizes", "12", "--seeds", "0"]
    command += ["-o", str(output), "training.max_epochs=2"]
    peers = [*command, "--methods", "raw cosine;LDA;IVF"]
    monkeypatch.setattr(sys, "argv", peers)
    quality.main()
    error = capsys.readouterr().err
    assert "IVF-PQ: left out; IVF-PQ: 12 images are too few" in error and "raw cosine {" in error
    monkeypatch.setattr(sys, "argv", [*command, "--methods", "raw cosine;product"])
    quality.main()
    assert "raw cosine {" not in capsys.readouterr().err
    (file,) = output.glob("*.json")
    cell = json.loads(file.read_text())
    assert cell["size"] == 12 and cell["copies"] == 12 and cell["training"] == 29
    assert cell["overrides"] == ["training.max_epochs=2"]
    assert {"raw cosine", "product", "product: likeness alone"} < set(cell["methods"])
    assert cell["methods"]["raw cosine"]["IA@1"] == 1
    assert cell["methods"]["product: no training"]["IA@1"] == 1
    assert (output / "summary.md").read_text().startswith("## Differences to the best peer")
    other = [text.replace("max_epochs=2", "max_epochs=3") for text in peers]
    monkeypatch.setattr(sys, "argv", other)
    with pytest.raises(UsageError, match=r"measured with \['training.max_epochs=2'\]"):
        quality.main()
