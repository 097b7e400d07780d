"""The layout and its rules: the tree in docs, imports that go one way, and tests that mirror the package."""

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
_ARCHITECTURE = (_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

# A room may import those before it, never those after it.
_ORDER = [
    "errors",
    "files",
    "progress",
    "registry",
    "columns",
    "kmeans",
    "neighbours",
    "config",
    "photos",
    "engine",
    "backbones",
    "facts",
    "ids",
    "model",
    "state",
    "search",
    "exported",
    "training",
    "collection",
    "evaluation",
    "export",
    "index",
    "serving",
    "cli",
    "paper",
    "__main__",
]

_PUBLIC = [
    "AddResult",
    "ImageIndex",
    "IndexConfig",
    "SearchOptions",
    "SearchResult",
    "VitdsiError",
    "__version__",
    "load_config",
]

_MAX_LINES = 300
# Processes of one build send each other tasks, in folders that only their owner can read.
_TASKS = {"engine/ray.py", "training/together.py"}
_SLOW_TO_IMPORT = {"torch", "sklearn", "scipy", "cv2", "faiss", "matplotlib", "omegaconf", "pydantic"}


def _name(path: Path) -> str:
    return path.relative_to(_PACKAGE).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _has_code(path: Path) -> bool:
    """Whether a file holds more than a docstring and imports."""
    quiet = (ast.Expr, ast.Import, ast.ImportFrom)
    names = {"__all__"}
    return not all(
        isinstance(part, quiet)
        or (isinstance(part, ast.Assign) and {t.id for t in part.targets if isinstance(t, ast.Name)} <= names)
        or (isinstance(part, ast.If) and "TYPE_CHECKING" in ast.unparse(part.test))
        for part in _tree(path).body
    )


def _listed() -> set[str]:
    """The files in the tree of docs/architecture.md."""
    match = re.search(r"^```\nsrc/vitdsi/\n(.*?)^```$", _ARCHITECTURE, re.DOTALL | re.MULTILINE)
    assert match, "docs/architecture.md has no code block that starts with src/vitdsi/"
    listed: set[str] = set()
    folders: list[str] = []
    for line in match[1].splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        del folders[depth - 1 :]
        if name.endswith("/"):
            folders.append(name)
        else:
            listed.add("".join(folders) + name)
    return listed


def test_the_tree_lists_every_file_with_code() -> None:
    listed = _listed()
    needed = {_name(path) for path in _SOURCES if path.name != "__init__.py" or _has_code(path)}
    assert sorted(needed - listed) == [], "run `make docs` to update docs/architecture.md"
    assert [name for name in sorted(listed) if not (_PACKAGE / name).exists()] == []


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import from this package, wherever in the file it stands."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write imports in full, from vitdsi..."
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "vitdsi")


@pytest.mark.parametrize("path", _SOURCES, ids=_name)
def test_imports_go_one_way(path: Path) -> None:
    if path == _PACKAGE / "__init__.py":  # the public names, so above everything
        return
    own = path.relative_to(_PACKAGE).with_suffix("").parts[0]
    assert own in _ORDER, f"give {own} its place in _ORDER"
    allowed = set(_ORDER[: _ORDER.index(own) + 1])
    rooms = [(line, [*name.split("."), "vitdsi"][1]) for line, name in _imports(path)]
    wrong = [f"line {line}: {room}" for line, room in rooms if room not in allowed]
    assert wrong == [], f"{own} may import only {', '.join(sorted(allowed))}"


@pytest.mark.parametrize("path", _SOURCES, ids=_name)
def test_private_names_stay_in_their_module(path: Path) -> None:
    private = [
        f"line {line}: {name}"
        for line, name in _imports(path)
        if any(part.startswith("_") and not part.startswith("__") for part in name.split("."))
    ]
    assert private == []


def test_searching_imports_nothing_of_training_or_building() -> None:
    code = "import sys, vitdsi.search.searcher; print(*[n for n in sys.modules if n.startswith('vitdsi.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rooms = {name.split(".")[1] for name in done.stdout.split()}
    assert "search" in rooms
    assert rooms.isdisjoint({"training", "collection", "evaluation", "index", "cli", "paper"})


def test_tests_mirror_the_package_file_by_file() -> None:
    missing = [
        name
        for name in (_name(path) for path in _SOURCES if _has_code(path))
        if not (_ROOT / "tests" / _test_of(name)).exists()
    ]
    assert missing == []


def _test_of(name: str) -> Path:
    path = Path(name)
    if path.name == "__init__.py":
        folder = path.parent
        return folder / f"test_{folder.name}.py" if folder.name else Path("test_architecture.py")
    return path.parent / f"test_{path.name}"


def test_a_long_file_has_its_reason_in_the_architecture_page() -> None:
    folders = [_ROOT / name for name in ("src", "examples", "benchmarks")]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    long = {
        path.relative_to(_ROOT).as_posix()
        for path in files
        if len(path.read_text("utf-8").splitlines()) > _MAX_LINES
    }
    reasons = set(re.findall(r"^- `(\S+\.py)`: \S", _ARCHITECTURE, re.MULTILINE))
    assert sorted(long - reasons) == []
    assert sorted(reasons - long) == [], "these files are short enough now"
    assert [path.name for path in files if path.stem in ("utils", "util", "helpers", "misc")] == []


def _questions() -> list[tuple[str, str, str]]:
    """(question, file, name) of each row of the table of questions."""
    rows = re.findall(r"^\| ([^|]+\?) \| `(src/\S+)` `(\S+)` \|$", _ARCHITECTURE, re.MULTILINE)
    return [(question.strip(), file, name) for question, file, name in rows]


def test_fifteen_questions_have_answers_that_exist() -> None:
    questions = _questions()
    assert len(questions) >= 15
    for question, file, name in questions:
        assert (_ROOT / file).is_file(), question
        first, *rest = name.split(".")
        body: list[ast.stmt] = _tree(_ROOT / file).body
        for part in (first, *rest):
            found = [node for node in body if part in _defined(node)]
            assert found, f"{question} {name} is not in {file}"
            body = found[0].body if isinstance(found[0], ast.ClassDef) else []


def _defined(node: ast.stmt) -> set[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id}
    return set()


def test_the_public_names_are_these() -> None:
    assert vitdsi.__all__ == _PUBLIC
    assert [name for name in _PUBLIC if not hasattr(vitdsi, name)] == []
    with pytest.raises(AttributeError, match="has no attribute 'Index'"):
        _ = vitdsi.Index


def test_the_command_line_starts_without_slow_imports() -> None:
    code = "import sys, vitdsi, vitdsi.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "vitdsi.cli.main" in done.stdout.split()
    assert _SLOW_TO_IMPORT & set(done.stdout.split()) == set()


def test_nothing_is_read_that_could_run_code() -> None:
    unsafe = (
        r"import (pickle|marshal|shelve|dill|joblib)|allow_pickle=True|trust_remote_code=True|load_extension"
    )
    unsafe += r"|yaml\.(load|unsafe_load)\(|torch\.load\((?!.*weights_only=True)|\b(eval|exec)\("
    wrong = [
        f"{_name(path)}: {line.strip()}"
        for path in _SOURCES
        if _name(path) not in _TASKS
        for line in path.read_text("utf-8").splitlines()
        if re.search(unsafe, line) and not re.search(r"\.eval\(\)", line)
    ]
    assert wrong == []


def test_no_file_is_replaced_but_through_the_files_module() -> None:
    """Writing in place is allowed where a whole folder is about to take the place of another."""
    wrong = [
        _name(path)
        for path in _SOURCES
        if _name(path) != "files.py"
        and re.search(r"os\.replace|os\.rename|NamedTemporaryFile|mkstemp", path.read_text("utf-8"))
    ]
    assert wrong == []
