"""ONNX Runtime for browsers: its files are taken from the npm registry, and checked."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
import urllib.request
from pathlib import Path

from vitdsi.backbones.cache import default_cache
from vitdsi.errors import UsageError
from vitdsi.files import write_atomically

__all__ = ["VERSION", "onnxruntime_web"]

VERSION = "1.22.0"
_INTEGRITY = "sha512-Ud/+EBo6mhuaQWt/OjaOk0iNWjXqJoeeMFr6xQEERZdIZH2OWpGzuujz7lfuOBjUa6TEE/sc4nb7Da5dNL34fg=="
_REGISTRY = "https://registry.npmjs.org/"
_TIMEOUT = 60.0  # seconds without an answer
_FILES = {
    "ort.js": "ort.wasm.min.mjs",
    "ort-wasm.js": "ort-wasm-simd-threaded.mjs",
    "ort.wasm": "ort-wasm-simd-threaded.wasm",
}
_LICENSE = """\
onnxruntime-web {version}, https://github.com/microsoft/onnxruntime

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def onnxruntime_web(folder: Path | None = None) -> dict[str, bytes]:
    """Return the files of ONNX Runtime for browsers by the names that the page gives them.

    Args:
        folder: the package `onnxruntime-web`, or its folder `dist`. None takes version `VERSION` from the npm registry,
            that of $NPM_CONFIG_REGISTRY if it is set, checks its hash, and keeps it in the cache.

    Raises:
        UsageError: the folder lacks a file, the registry cannot be reached, or what it sends is not the package.
    """
    files = _packed(_package()) if folder is None else _unpacked(folder)
    return files | {"LICENSE.txt": _LICENSE.format(version=VERSION if folder is None else "").encode()}


def _unpacked(folder: Path) -> dict[str, bytes]:
    dist = folder / "dist" if (folder / "dist").is_dir() else folder
    try:
        return {name: (dist / source).read_bytes() for name, source in _FILES.items()}
    except OSError as error:
        raise UsageError(
            f"{folder} is not the package onnxruntime-web: it has no file {Path(error.filename or '').name}"
        ) from error


def _packed(package: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        files = {}
        for name, source in _FILES.items():
            member = archive.extractfile(f"package/dist/{source}")
            assert member is not None, source  # the content is known by its hash
            files[name] = member.read()
        return files


def _package() -> bytes:
    """Return the package from the cache, or else from the registry."""
    kept = default_cache() / f"onnxruntime-web-{VERSION}.tgz"
    if kept.is_file() and _is_genuine(known := kept.read_bytes()):
        return known
    # As with npm, the case does not matter.
    settings = {name.lower(): value for name, value in os.environ.items()}
    registry = settings.get("npm_config_registry") or _REGISTRY
    address = f"{registry.rstrip('/')}/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT) as response:
            content: bytes = response.read()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"onnxruntime-web cannot be downloaded from {address} ({error}); try again with a connection, or give an"
            f" unpacked package onnxruntime-web {VERSION} with --onnxruntime-web DIR"
        ) from error
    if not _is_genuine(content):
        raise UsageError(f"what {address} sends is not onnxruntime-web {VERSION}: its hash differs")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(kept) as stream:
        stream.write(content)
    return content


def _is_genuine(package: bytes) -> bool:
    algorithm, _, expected = _INTEGRITY.partition("-")
    return base64.b64encode(hashlib.new(algorithm, package).digest()).decode() == expected
