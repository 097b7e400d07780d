"""What the pages at the root and the Makefile promise exists. `mkdocs build --strict` checks the links of the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_MAKEFILE = (_ROOT / "Makefile").read_text("utf-8")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_relative_links_of_a_root_page_lead_to_files(page: str) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (_ROOT / page).read_text("utf-8"))
    assert [link for link in links if not (_ROOT / link).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_files_that_a_root_page_names_exist(page: str) -> None:
    named = re.findall(
        r"\b(?:src|tests|examples|benchmarks|docs)/[\w/.-]+\.\w+", (_ROOT / page).read_text("utf-8")
    )
    assert named
    assert [name for name in named if not (_ROOT / name).exists()] == []


def test_every_target_of_the_makefile_has_its_line_in_make_help() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", _MAKEFILE, re.MULTILINE)
    assert phony
    documented = re.findall(r"^([a-z-]+):.*## \S", _MAKEFILE, re.MULTILINE)
    assert sorted(documented) == sorted(phony[1].split())


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/start.md", ".ci/run"])
def test_make_targets_that_a_page_names_exist(page: str) -> None:
    targets = re.findall(r"^(?:`?)make ([a-z-]+)", (_ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert targets
    assert [name for name in targets if not re.search(rf"^{name}:", _MAKEFILE, re.MULTILINE)] == []
