"""Photo sets with classes for the benchmarks, laid out from public repositories at recorded commits.

    python benchmarks/sets.py DIR [NAME ...]       lay out DIR/<name>/<class>/<photo>; all sets without NAME
    python benchmarks/sets.py --list               the names, with role, classes and photos
    python benchmarks/sets.py --near DIR NAME ...  the share of photos that have a nearly identical one in their set

`sets.json` beside this file says for each set where it comes from, how labels are read and what must come out. Git
gets the commit, so that a mirror can be used with `git config url.<mirror>.insteadOf <address>`. Photos are copied
without a change and named by their content. A set that is in place and has the recorded content is left alone.

What is kept of a set, without any randomness:

1. the files whose path in the repository matches `pattern`, whose group `label` is the class;
2. one copy of each photo, and none of a photo that is in several classes, where "copy" means the same bytes;
3. the first `at_most` photos of each class by the BLAKE2b hash of their bytes, if `at_most` is given;
4. the classes that have at least `at_least` photos then.

Roles. Settings may be chosen with *development* sets, and with imagenette, which comes from its own address. Nothing
is ever chosen with *locked* sets; they are measured after all choices have been made. Nothing is measured on *reserve*
sets, so that they can replace locked sets later. The roles were given before anything was measured, by this rule: the
sets that were found form three groups (`group` in `sets.json`): similar classes, places and surfaces, and objects.
Within a group, in alphabetical order, the first set is locked, the second is for development and the others are in
reserve.
A set is passed over for "locked" if more than 10 % of its photos have another photo of the set with a cosine of at
least .98 between their pooled features of the default backbone, because then photos to search with would hardly be
new. No set was passed over; `near_identical` in `sets.json` is the share. Caltech-101, which had been used for
development before, stays a development set.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from vitdsi.errors import UsageError
from vitdsi.files import replace_folder

MANIFEST = Path(__file__).with_name("sets.json")
_NEAR = 0.98  # the cosine from which two photos count as nearly identical


def known() -> dict[str, dict[str, Any]]:
    """The entry of each set, by name."""
    entries: dict[str, dict[str, Any]] = json.loads(MANIFEST.read_text(encoding="utf-8"))
    return entries


def load(name: str, directory: Path) -> tuple[Path, str]:
    """Return the folder of a set that has been laid out in `directory`, and the role of the set.

    Raises:
        UsageError: if the set is unknown, or the folder does not have the recorded content.
    """
    entry, folder = _entry(name), directory / name
    problem = difference(folder, entry)
    if problem:
        raise UsageError(f"{folder} {problem}: run `python benchmarks/sets.py {directory} {name}`")
    return folder, entry["role"]


def lay_out(name: str, directory: Path) -> Path:
    """Make the folder of a set in `directory`, unless it is there with the recorded content.

    Raises:
        UsageError: if the set is unknown, or what was laid out is not what the manifest records. In the second case
            the folder in place is left as it was.
        subprocess.CalledProcessError: if git cannot get the commit.
    """
    entry, folder = _entry(name), directory / name
    if difference(folder, entry) is None:
        return folder
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix=f".{name}.git-") as checkout:
        check_out(entry["repository"], entry["commit"], entry["checkout"], Path(checkout))
        found = labelled(Path(checkout), entry["pattern"])
        kept = choose(found, at_least=entry["at_least"], at_most=entry["at_most"])
        with replace_folder(folder) as new:
            for label, photos in kept.items():
                (new / label).mkdir()
                for digest, path in photos:
                    shutil.copyfile(path, new / label / f"{digest}{path.suffix.lower()}")
            problem = difference(new, entry)
            if problem:
                raise UsageError(f"{name}: what {entry['repository']} has at {entry['commit']} {problem}")
    return folder


def check_out(repository: str, commit: str, wanted: Sequence[str], target: Path) -> None:
    """Write the files of a commit that match the patterns of `git sparse-checkout` into `target`."""
    for arguments in (
        ["init", "-q"],
        ["remote", "add", "origin", repository],
        ["sparse-checkout", "set", "--no-cone", *wanted],
        ["fetch", "-q", "--depth", "1", "--filter=blob:none", "origin", commit],
        ["-c", "core.autocrlf=false", "-c", "advice.detachedHead=false", "checkout", "-q", commit],
    ):
        subprocess.run(["git", "-C", str(target), *arguments], check=True)


def labelled(root: Path, pattern: str) -> list[tuple[str, Path]]:
    """The class and the path of each file whose path relative to `root` matches all of `pattern`.

    Classes are written in lower case, so that "Street" and "street" are one class in every file system.
    """
    files = [path for path in root.rglob("*") if path.is_file()]
    matches = [(re.fullmatch(pattern, path.relative_to(root).as_posix()), path) for path in files]
    return sorted((match["label"].lower(), path) for match, path in matches if match)


def choose(
    found: Sequence[tuple[str, Path]], at_least: int, at_most: int | None
) -> dict[str, list[tuple[str, Path]]]:
    """For each class that is kept, the hash and the path of each photo that is kept, sorted by hash."""
    labels: dict[str, set[str]] = defaultdict(set)
    paths: dict[str, Path] = {}
    for label, path in found:
        digest = file_hash(path)
        labels[digest].add(label)
        paths.setdefault(digest, path)
    classes: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for digest in sorted(paths):
        if len(labels[digest]) == 1:
            classes[min(labels[digest])].append((digest, paths[digest]))
    return {label: classes[label][:at_most] for label in sorted(classes) if len(classes[label]) >= at_least}


def difference(folder: Path, entry: dict[str, Any]) -> str | None:
    """Say how the content of a folder differs from what the manifest records, or return None."""
    if not folder.is_dir():
        return "does not exist"
    photos = [path for path in folder.rglob("*") if path.is_file()]
    classes = {path.relative_to(folder).parts[0] for path in photos}
    found = (len(photos), len(classes), content_hash(folder))
    recorded = (entry["photos"], entry["classes"], entry["hash"])
    if found == recorded:
        return None
    text = "{} photos in {} classes with the hash {}"
    return f"gives {text.format(*found)} instead of {text.format(*recorded)}"


def content_hash(folder: Path) -> str:
    """BLAKE2b (hexadecimal) of the sorted lines "<relative path> <hash of the file>" of all files in a folder."""
    lines = [f"{p.relative_to(folder).as_posix()} {file_hash(p)}\n" for p in folder.rglob("*") if p.is_file()]
    return _hash("".join(sorted(lines)).encode())


def file_hash(path: Path) -> str:
    """BLAKE2b (hexadecimal) of the bytes of a file."""
    return _hash(path.read_bytes())


def _hash(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def _entry(name: str) -> dict[str, Any]:
    entries = known()
    if name not in entries:
        raise UsageError(f"{name!r} is not a known set: use one of {', '.join(sorted(entries))}")
    return entries[name]


def near_identical_share(folder: Path) -> float:
    """The share of photos whose pooled features have a cosine of at least .98 with those of another photo."""
    from shared import pooled_reader
    from torch.nn.functional import normalize

    from vitdsi.photos.find import scan_folder

    photos = [record.path for record in scan_folder(folder)]
    features = normalize(pooled_reader().load(photos).features.float(), dim=1)
    near = 0
    for start in range(0, len(features), 500):
        cosines = features[start : start + 500] @ features.T
        near += int(((cosines >= _NEAR).sum(1) > 1).sum())  # the photo itself is one
    return near / len(features)


def main(arguments: Sequence[str]) -> None:
    """Run the command that the docstring of this module describes."""
    if list(arguments) == ["--list"]:
        for name, entry in known().items():
            print(f"{name:12} {entry['role']:12} {entry['classes']:4} classes {entry['photos']:6} photos")
        return
    if len(arguments) >= 3 and arguments[0] == "--near":
        for name in arguments[2:]:
            folder, _ = load(name, Path(arguments[1]))
            print(f"{name:12} {near_identical_share(folder):.1%}", flush=True)
        return
    if not arguments or arguments[0].startswith("-"):
        raise SystemExit(__doc__)
    for name in arguments[1:] or known():
        try:
            print(lay_out(name, Path(arguments[0])), flush=True)
        except UsageError as error:
            raise SystemExit(str(error)) from None
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"{name}: git could not get the commit (`{' '.join(error.cmd)}`)") from None


if __name__ == "__main__":
    main(sys.argv[1:])
