"""`vitdsi serve`: what it refuses before it starts."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from helpers_cli import one_error_line, run


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VITDSI_TOKEN", raising=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5"])
def test_an_address_that_others_can_reach_needs_a_token(dsi: Path, host: str) -> None:
    one_error_line(run("serve", dsi, "--host", host), 2, "token", "VITDSI_TOKEN")


def test_a_name_of_a_proxy_needs_a_token(dsi: Path) -> None:
    one_error_line(run("serve", dsi, "--allow-host", "photos.example.org"), 2, "token")


def test_a_short_token_is_refused_also_from_the_environment(
    dsi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITDSI_TOKEN", "short")
    one_error_line(run("serve", dsi), 2, "at least 16")


def test_a_folder_that_does_not_exist_is_refused(dsi: Path) -> None:
    one_error_line(run("serve", dsi, "--images", "nowhere"), 2, "nowhere", "no such folder")


def test_a_port_in_use_is_refused(dsi: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        one_error_line(run("serve", dsi, "--port", port), 2, str(port), "cannot be used")


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    one_error_line(run("serve", tmp_path / "none.dsi", "--port", 0), 2, "there is no such index")
    one_error_line(run("serve", tmp_path, "--port", 0), 1, "is not an index")
