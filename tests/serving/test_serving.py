"""The entry point, also where the packages of the extra are missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI

from vitdsi.errors import UsageError
from vitdsi.serving import create_app


def test_an_application_is_made_from_a_path_and_options(dsi: Path) -> None:
    app = create_app(str(dsi), writable=True)
    assert isinstance(app, FastAPI)
    assert app.state.engine.settings.writable


def test_an_unknown_folder_of_photos_is_refused(dsi: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        create_app(dsi, images="nowhere")


@pytest.mark.parametrize("package", ["fastapi", "prometheus_client"])
def test_without_the_extra_the_error_says_what_to_install(package: str) -> None:
    code = f"import sys; sys.modules['{package}'] = None\nfrom vitdsi.cli.main import main\nmain()"
    command = [sys.executable, "-c", code, "serve", "photos.dsi"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert package in line
    assert "pip install 'vitdsi[serve]'" in line
