"""The layout and its rules: what docs/architecture.md says is what is there, and imports go one way."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vitdsi

_ROOT = Path(__file__).parents[1]
_PACKAGE = _ROOT / "src" / "vitdsi"
_SOURCES = sorted(_PACKAGE.rglob("*.py"))

# A module may import those before it, never those after it. A folder counts as one.
_ORDER = [
    "errors",
    "files",
    "config",
    "images",
    "augment",
    "datasets",
    "relevance",
    "tokens",
    "ids",
    "trie",
    "model",
    "features",
    "training",
    "beam",
    "evaluation",
    "baselines",
    "where",
    "metadata",
    "facts",
    "storage",
    "build",
    "ranking",
    "quality",
    "filters",
    "placing",
    "living",
    "duplicates",
    "index",
    "contact_sheet",
    "terminal",
    "command",
    "experiments",
    "verbs",
    "cli",
]

_PUBLIC = ["ImageIndex", "IndexConfig", "SearchResult", "VitdsiError", "__version__"]

_MAX_LINES = 400
_SLOW_TO_IMPORT = {"torch", "sklearn", "scipy", "cv2", "faiss", "matplotlib", "omegaconf"}


def _listed() -> dict[str, str]:
    """Path -> phrase, of every file in the tree of docs/architecture.md."""
    text = (_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    match = re.search(r"^```\nsrc/vitdsi/\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert match, "docs/architecture.md has no code block that starts with src/vitdsi/"
    listed: dict[str, str] = {}
    folders: list[str] = []
    for line in match[1].splitlines():
        name, _, phrase = line.strip().partition(" ")
        depth, odd = divmod(len(line) - len(line.lstrip()), 2)
        assert odd == 0 and 1 <= depth <= len(folders) + 1, f"indent by two spaces a level: {line!r}"
        del folders[depth - 1 :]
        if name.endswith("/"):
            folders.append(name)
        else:
            listed["".join(folders) + name] = phrase.strip()
    return listed


def _only_says_what_it_is(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return path.name == "__init__.py" and all(isinstance(part, ast.Expr) for part in body)


def test_the_tree_lists_every_file_with_a_phrase() -> None:
    listed = _listed()
    needed = {path.relative_to(_PACKAGE).as_posix() for path in _SOURCES if not _only_says_what_it_is(path)}
    assert sorted(needed - set(listed)) == [], "not in docs/architecture.md"
    assert [name for name in listed if not (_PACKAGE / name).exists()] == [], (
        "in docs/architecture.md, not there"
    )
    assert [name for name, phrase in listed.items() if not phrase] == [], "without a phrase"


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, what) of each import from this package, wherever in the file it stands: "vitdsi.ids.random" is "ids"."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write imports in full, from vitdsi..."
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for package, *rest in (name.split(".") for name in names):
            if package == "vitdsi":
                yield node.lineno, rest[0] if rest else "vitdsi"


@pytest.mark.parametrize("path", _SOURCES, ids=lambda path: path.relative_to(_PACKAGE).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    if path == _PACKAGE / "__init__.py":  # the public names, so above everything
        return
    own = path.relative_to(_PACKAGE).with_suffix("").parts[0]
    assert own in _ORDER, f"give {own} its place in _ORDER"
    allowed = set(_ORDER[: _ORDER.index(own) + 1])
    if own in ("command", "cli"):
        allowed.add("__version__")
    wrong = [f"line {line}: {name}" for line, name in _imports(path) if name not in allowed]
    assert wrong == [], f"{own} may import only {', '.join(sorted(allowed))}"


def test_files_are_short_and_named_after_their_idea() -> None:
    folders = [_ROOT / name for name in ("src", "examples", "benchmarks")]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    lengths = {
        path.relative_to(_ROOT).as_posix(): len(path.read_text("utf-8").splitlines()) for path in files
    }
    assert {name: lines for name, lines in lengths.items() if lines > _MAX_LINES} == {}
    assert [name for name in lengths if Path(name).stem in ("utils", "util", "helpers", "misc")] == []


def test_the_public_names_are_these() -> None:
    assert vitdsi.__all__ == _PUBLIC
    assert [name for name in _PUBLIC if not hasattr(vitdsi, name)] == []


def test_the_command_line_starts_without_heavy_imports() -> None:
    code = "import sys, vitdsi, vitdsi.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "vitdsi.cli" in done.stdout.split()
    assert _SLOW_TO_IMPORT & set(done.stdout.split()) == set()
