"""Does anything break? Thousands of broken inputs, interrupted changes and random sequences of changes.

    python benchmarks/reliability.py images [cases=5000]    broken image files: indexed, searched and described
    python benchmarks/reliability.py folders [cases=2000]   damaged index folders, and those of strangers
    python benchmarks/reliability.py states [cases=1000]    random sequences of changes, against a dictionary of images
    python benchmarks/reliability.py kills [cases=100]      kill -9 in index, add, remove, compact and serve; only=add
    python benchmarks/reliability.py disks [cases=25]       the same on a full disk and in a read-only folder, as root
    python benchmarks/reliability.py crowd [cases=200000]   a folder of so many empty files and folders

Cases are numbered, and the same number is the same case each time; `first=N` starts at another one. Each case runs in a
process of its own with limits. One JSON object is written to stdout; failures are shown on stderr at once.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import json
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from fuzzed_folders import read_folder
from fuzzed_images import mutated
from fuzzing import outcomes, summary

from vitdsi.errors import ImageReadError

_lifetime = contextlib.ExitStack()
atexit.register(_lifetime.close)

_SIDE = 224  # pixels that the default backbone reads


def read_image(case: int) -> tuple[str, str]:
    """Read one broken image as `index` and `search` do, and send it to a server."""
    from vitdsi.facts.exif import read_facts
    from vitdsi.photos.decode import decode, load_square
    from vitdsi.photos.keypoints import detect

    kind, data = mutated(case)
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(data)
        file.flush()
        facts = read_facts(Path(file.name))
        json.dumps(facts)
        results = {
            _result(lambda: load_square(Path(file.name), _SIDE), file.name),
            _result(lambda: decode(data, min_side=2 * _SIDE), "<bytes>"),
            _result(lambda: detect(data, 100, 2 * _SIDE), "<bytes>"),
        }
    if len(results) > 1:
        raise AssertionError(f"{kind}: a file and its bytes are read differently: {results}")
    result = results.pop()
    answer = _server().post("/v1/search?k=1", content=data, headers={"Content-Type": "image/jpeg"})
    if answer.status_code not in ((200, 413) if result == "read" else (200, 413, 422)):
        raise AssertionError(
            f"{kind}: {result}, and the server says {answer.status_code}: {answer.text[:300]}"
        )
    if answer.status_code != 200 and not answer.json()["error"].isprintable():
        raise AssertionError(f"{kind}: the server's reason is not one line: {answer.text[:300]}")
    return kind, result


@functools.cache
def _server() -> Any:
    """A client of a server of a few photos, for as long as this process lives."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from helpers_cli import index, paint
    from helpers_serving import client

    folder = tempfile.TemporaryDirectory()
    _lifetime.callback(folder.cleanup)
    out = Path(folder.name, "photos.dsi")
    if index(paint(Path(folder.name, "photos")), out, "--epochs", 2).exit_code:
        raise AssertionError("no index is made")
    return _lifetime.enter_context(client(out))


def _result(read: Any, name: str) -> str:
    """Return `read` or `refused`, and check what an error says."""
    try:
        read()
    except ImageReadError as error:
        if error.path != name or not error.reason or not error.reason.isprintable():
            raise AssertionError(f"an error without a name or a reason in one line: {error!r}") from error
        return "refused"
    return "read"


def images(cases: int, first: int) -> dict[str, Any]:
    """Broken image files."""
    return summary(outcomes(read_image, range(first, first + cases)), _show)


def folders(cases: int, first: int) -> dict[str, Any]:
    """Index folders that are damaged or mean harm."""
    return summary(outcomes(read_folder, range(first, first + cases)), _show)


def states(cases: int, first: int) -> dict[str, Any]:
    """Random sequences of changes, in this process. `first` is not used: hypothesis chooses the sequences."""
    from states import run_sequences

    try:
        run_sequences(cases)
    except Exception:
        return {"cases": cases, "failures": [traceback.format_exc()]}
    return {"cases": cases, "failures": []}


def kills(cases: int, first: int, only: str = "") -> dict[str, Any]:
    """Each verb, or one of them, killed at random moments."""
    from kills import VERBS, kill

    verbs = [only] if only else VERBS
    found = itertools.chain.from_iterable(kill(verb, range(first, first + cases)) for verb in verbs)
    return summary(found, _show)


def disks(cases: int, first: int) -> dict[str, Any]:
    """Each verb on a disk that gets full, and in a folder that may not be written."""
    from full_disk import fill, forbid

    return summary(itertools.chain(forbid(), fill(range(first, first + cases))), _show)


def crowd(cases: int, first: int) -> dict[str, Any]:
    """A folder of empty files and empty folders, half of each, and a few photos between them. `first` is not used."""
    return summary(outcomes(functools.partial(read_crowd, cases), range(1)), _show) | {"entries": cases}


def read_crowd(entries: int, case: int) -> tuple[str, str]:
    """Index a folder of empty entries: each empty file is counted as one that cannot be read."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from helpers_cli import COUNT, index, paint

    signal.setitimer(signal.ITIMER_PROF, 0)  # it may take longer than other cases
    with tempfile.TemporaryDirectory() as folder:
        photos = paint(Path(folder, "photos"))
        for number in range(entries // 2):
            (photos / f"{number}.jpg").touch()
            (photos / f"{number}").mkdir()
        began = time.monotonic()
        result = index(photos, Path(folder, "i.dsi"), "--epochs", 2)
        seconds = time.monotonic() - began
    if result.exit_code:
        raise AssertionError(result.output)
    found = json.loads(result.stdout)
    if (found["images"], found["skipped"]) != (COUNT, entries // 2):
        raise AssertionError(result.stdout)
    return f"{seconds:.0f} s, {len(result.stderr)} characters on stderr", "indexed"


def _show(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


JOBS = {
    "images": (images, 5000),
    "folders": (folders, 2000),
    "states": (states, 1000),
    "kills": (kills, 100),
    "disks": (disks, 25),
    "crowd": (crowd, 200_000),
}


def main() -> None:
    """Run the job that the command line names."""
    if len(sys.argv) < 2 or sys.argv[1] not in JOBS:
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
    job, cases = JOBS[sys.argv[1]]
    options: dict[str, Any] = {
        "cases": cases,
        "first": 0,
        **{k: int(v) if v.isdigit() else v for k, _, v in (a.partition("=") for a in sys.argv[2:])},
    }
    result = job(**options)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    command = f"python benchmarks/reliability.py {' '.join(sys.argv[1:])}"
    print(json.dumps({"command": command, "commit": commit, **result}, indent=1))
    sys.exit(1 if result["failures"] else 0)


if __name__ == "__main__":
    main()
