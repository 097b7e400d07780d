"""The generated parts of the documentation are up to date, and say what the source says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import pytest
from pydantic import Field

from vitdsi.cli.main import cli
from vitdsi.config import IndexConfig
from vitdsi.config.settings import known_keys

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", _ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_generated_files_are_up_to_date(generate: ModuleType) -> None:
    stale = [path.name for path, text in generate.generated().items() if path.read_text("utf-8") != text]
    assert stale == [], "run `make docs`, and commit what it writes"


def test_settings_page_has_every_key_once_and_product_before_paper(generate: ModuleType) -> None:
    keys = re.findall(r"^#+ `([\w.]+)` \{", generate.settings_page(), re.MULTILINE)
    assert sorted(keys) == sorted(known_keys(IndexConfig))
    is_paper = [".paper." in key for key in keys]
    assert is_paper == sorted(is_paper)


def test_every_setting_has_a_docstring_on_the_settings_page(generate: ModuleType) -> None:
    entries = re.split(r"^#+ `[\w.]+` \{.*$", generate.settings_page(), flags=re.MULTILINE)[1:]
    for entry in entries:
        kind, docstring = [line for line in entry.splitlines() if line][:2]
        assert kind.startswith("*") and "default" in kind
        assert docstring.endswith(".")


def test_command_page_has_every_verb_and_option(generate: ModuleType) -> None:
    page = generate.command_page()
    for name, verb in cli.commands.items():
        section = page.split(f"## `vitdsi {name}`\n")[1].split("\n## ")[0]
        for option in [text for parameter in verb.params for text in parameter.opts if text.startswith("-")]:
            assert option in section


def test_man_page_has_every_verb_and_option_and_no_stray_request(generate: ModuleType) -> None:
    page = generate.man_page()
    for name, verb in cli.commands.items():
        section = page.split(f".SS vitdsi {name}")[1].split("\n.SS ")[0]
        for option in [text for parameter in verb.params for text in parameter.opts if text.startswith("-")]:
            assert option.replace("-", r"\-") in section
    requests = {line.split()[0] for line in page.splitlines() if line.startswith((".", "'"))}
    assert requests == {'.\\"', ".TH", ".SH", ".SS", ".PP", ".TP", ".nf", ".fi"}


def test_man_page_is_part_of_the_wheel() -> None:
    project = (_ROOT / "pyproject.toml").read_text("utf-8")
    assert '"docs/man/vitdsi.1" = "share/man/man1/vitdsi.1"' in project


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "integer"),
        (Annotated[int, Field(ge=1)], "integer, at least 1"),
        (Annotated[float, Field(ge=0, lt=1)], "number, at least 0 and below 1"),
        (Annotated[float, Field(gt=0)] | None, "number, above 0, or none"),
        (Literal["a", "b"], "one of `a`, `b`"),
    ],
)
def test_type_in_words(generate: ModuleType, hint: object, words: str) -> None:
    assert generate.describe_type(hint) == words


def test_check_names_a_stale_file_and_writes_nothing(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "generated", lambda: {page: "new"})
    page.write_text("old")
    assert generate.main(check=True) == 1
    assert (page.read_text(), capsys.readouterr().err) == (
        "old",
        "page.md is out of date: run make docs, and commit it\n",
    )
    assert generate.main(check=False) == 0
    assert page.read_text() == "new"
    assert generate.main(check=True) == 0
