from __future__ import annotations

from pathlib import Path

from helpers_cli import one_error_line, run


def test_shards_and_an_address_need_a_ray_cluster(tmp_path: Path) -> None:
    for option in (["--shards", "2"], ["--address", "auto"]):
        one_error_line(run("serve", tmp_path, *option), 2, "give --engine ray as well")
