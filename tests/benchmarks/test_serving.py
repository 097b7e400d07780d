"""The load of a server: comparing answers, and clients that search, change and misbehave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers_cli import TINY
from helpers_images import photo

from vitdsi.config import load_config
from vitdsi.index import ImageIndex

_EXPECTED = [(3, 0.9), (1, 0.4), (2, 0.4)]


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ([(3, 0.90001), (1, 0.4), (2, 0.4)], "equal"),
        ([(3, 0.9), (2, 0.4), (1, 0.4)], "equal but for ties"),
        ([(1, 0.9), (3, 0.4), (2, 0.4)], "different"),
        ([(3, 0.9), (1, 0.5), (2, 0.4)], "different"),
        ([(3, 0.9), (1, 0.4)], "different"),
        ([(3, 0.9), (1, 0.4), (7, 0.4)], "different"),
    ],
)
def test_answers_are_compared_by_ids_and_scores(given: list[tuple[int, float]], verdict: str) -> None:
    from serving import agreement

    assert agreement(given, _EXPECTED) == verdict


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """An index of eight photos, and 120 others."""
    folder = tmp_path_factory.mktemp("load")
    for kind, count in (("indexed", 8), ("others", 120)):
        (folder / kind).mkdir()
        for i in range(count):
            photo(32, 32, seed=i + 1000 * count).save(folder / kind / f"{i}.png")
    config = load_config(overrides=[*TINY, "training.max_epochs=4", "device=cpu"])
    ImageIndex(config).fit(folder / "indexed").save(folder / "index.dsi")
    return folder / "index.dsi", sorted((folder / "others").iterdir())


@pytest.mark.slow
def test_all_answers_are_those_of_a_state(small: tuple[Path, list[Path]]) -> None:
    from serving import states

    found = states(
        *small, {"requests": 100, "minutes": 0, "concurrency": 8, "ids": 1, "regions": 0, "verify": 1}
    )
    assert set(found["statuses"]) <= {"200", "429"}
    assert sum(found["answers"].values()) == found["requests"] >= 100
    assert set(found["answers"]) <= {"equal", "equal but for ties"}
    assert found["changes"]["added 200"] >= 1
    assert found["states"] >= 2


@pytest.mark.slow
def test_misbehaving_clients_are_refused_and_others_answered(small: tuple[Path, list[Path]]) -> None:
    from serving import abuse

    found: dict[str, Any] = abuse(*small, {"connections": 1500, "megabytes": 64})
    for name, result in found.items():
        assert set(result["usual searches"]["statuses"]) <= {"200", "429"}, name
    assert set(found["slow heads"]["outcome"]) == {"closed"}
    assert set(found["slow bodies"]["outcome"]) <= {"408", "400", "422"}
    assert set(found["64 MB declared"]["outcome"]) == {"413"}
    assert set(found["64 MB in chunks"]["outcome"]) == {"413"}
    assert found["1500 open connections"]["outcome"]["503"] >= 400
