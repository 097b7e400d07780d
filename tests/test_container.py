"""The Dockerfile and the compose file. Their steps are done without an engine, in namespaces, which need root."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from helpers_cli import index
from PIL import Image

_ROOT = Path(__file__).parents[1]
_DOCKERFILE = (_ROOT / "Dockerfile").read_text("utf-8")


def _command(name: str) -> list[str]:
    """The last instruction of this name, in its form of a list."""
    found = re.findall(rf"^(?:\s*)(?:HEALTHCHECK .*\\\n\s*)?{name} (\[.*\])$", _DOCKERFILE, re.MULTILINE)
    words: list[str] = json.loads(found[-1])
    return words


def _healthcheck() -> list[str]:
    (found,) = re.findall(r"HEALTHCHECK [^\[]*CMD (\[.*\])", _DOCKERFILE)
    words: list[str] = json.loads(found)
    return words


def test_image_is_small_and_does_not_run_as_root() -> None:
    stages = re.split(r"^FROM ", _DOCKERFILE, flags=re.MULTILINE)[1:]
    assert all(stage.startswith("python:3.12-slim") for stage in stages)
    assert "COPY --from=build" in stages[-1] and "pip install" not in stages[-1]
    assert re.search(r"^USER 10001$", stages[-1], re.MULTILINE)
    assert _healthcheck()[0] == "python" and "/healthz" in _healthcheck()[-1]


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignored = (_ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert ignored[0] == "*"
    for line in re.findall(r"^COPY (?!--)(.+)$", _DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (_ROOT / source).exists() and f"!{source}" in ignored


def test_service_is_read_only_and_has_no_privileges() -> None:
    service = yaml.safe_load((_ROOT / "compose.yaml").read_text("utf-8"))["services"]["vitdsi"]
    assert service["read_only"] and service["tmpfs"] == ["/tmp"] and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(volume.endswith(":ro") for volume in service["volumes"])
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs root, to make namespaces")
def test_wheel_is_served_read_only_by_a_user_without_privileges(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "photos").mkdir(parents=True)
    for i in range(12):
        Image.effect_noise((48, 40), 30 + 10 * i).convert("RGB").save(data / "photos" / f"{i:02}.png")
    assert index(data / "photos", data / "photos.dsi").exit_code == 0
    context = tmp_path / "context"
    for line in (_ROOT / ".dockerignore").read_text("utf-8").splitlines():
        if line.startswith("!"):
            source, target = _ROOT / line[1:], context / line[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, "-w", tmp_path / "wheels", context], check=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    (tmp_path / "root").mkdir()
    *words, code = _healthcheck()
    done = subprocess.run(
        [
            *(
                "unshare",
                "--mount",
                "--net",
                "--propagation",
                "private",
                "sh",
                _ROOT / "tests" / "container.sh",
            ),
            *(tmp_path / "root", wheel, data, sys.base_prefix, sysconfig.get_path("purelib")),
            f"{' '.join(words)} {json.dumps(code)}",
            *_command("CMD"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[0] == "healthy", done.stdout + done.stderr
    assert lines[1].startswith("/opt/vitdsi/lib/") and lines[1].endswith(" 10001")
    assert lines[2:] == [
        "without a token: 401",
        "found: 3 best is the photo: True",
        "refused: /x",
        "refused: /data/x",
        "refused: /opt/vitdsi/x",
        "written: /tmp/x",
        "ended",
    ]
