"""Running: a socket that can be listened on, and a process that ends when it is told to."""

from __future__ import annotations

import http.client
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vitdsi.errors import UsageError
from vitdsi.serving.run import open_socket


def test_a_port_in_use_is_an_error_that_says_what_to_do() -> None:
    with open_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port}: cannot be used .*--port"):
            open_socket("127.0.0.1", port)


@pytest.mark.parametrize("host", ["999.1.1.1", "no.such.host.invalid"])
def test_an_unknown_address_is_an_error(host: str) -> None:
    with pytest.raises(UsageError, match="--host"):
        open_socket(host, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_the_command_serves_until_it_is_terminated(dsi: Path, photos: Path) -> None:
    code = "from vitdsi.cli.main import main; main()"
    command = [sys.executable, "-c", code, "serve", dsi, "--images", photos, "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            started = process.stderr.readline()
            match = re.search(r"at http://127\.0\.0\.1:(\d+); Ctrl-C ends it", started)
            assert match, started
            connection = http.client.HTTPConnection("127.0.0.1", int(match[1]), timeout=30)
            connection.request("GET", "/v1/search?id=0&k=1")
            assert connection.getresponse().status == 200
            connection.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) in (0, -signal.SIGTERM)
            assert process.stderr.read() == ""
        finally:
            process.kill()
