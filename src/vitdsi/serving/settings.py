"""The settings of a server: what it serves, who may ask, and its limits."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from vitdsi.errors import UsageError

__all__ = ["ANY_HOST", "LOOPBACK", "MIN_TOKEN_LENGTH", "ServerSettings", "is_loopback"]

ANY_HOST = "*"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
MIN_TOKEN_LENGTH = 16  # characters; a shorter token could be guessed

_MIB = 1 << 20


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


@dataclass(frozen=True)
class ServerSettings:
    """The settings of a server.

    Attributes:
        index: the folder of the index.
        images: the folder that was indexed, for thumbnails and photos. Without it there are small grey thumbnails.
        token: what clients must send, as `Authorization: Bearer TOKEN` or once to `POST /v1/login`. None asks for
            nothing, which is only allowed for clients on the same machine.
        writable: whether images may be added and removed.
        hosts: names, beside those of the loopback address, by which clients may address the server; `*` is any name.
        device: `cpu`, `cuda`, or `auto` for CUDA if it is available.
        workers: the number of threads that decode photos and compute features.
        max_waiting: the number of searches that may be in progress or waiting; further ones are refused with 429.
            So are those that would probably wait for more than half of the deadline.
        max_batch: the number of searches that the model answers together.
        max_body_bytes: the largest body of a request.
        max_bodies_bytes: the bytes that all bodies in progress may have together.
        max_pixels: the number of pixels of an image that are decoded (see `vitdsi.photos.decode.decode`).
        max_results: the largest k.
        max_uploads: the number of images in one request to add images.
        deadline: seconds until a search is given up with 504.
        change_deadline: the same for adding and removing images.
        body_timeout: seconds in which a client must have sent its body, and taken each part of the answer.
        idle_unload: seconds without a request after which the memory of the index is given back, or None to keep it.
        poll_seconds: how often it is checked whether the index was changed on disk.
        picture_cache_bytes: the size of the thumbnails that are kept in memory.

    Raises:
        UsageError: a value is not valid, when the settings are made.
    """

    index: Path
    images: Path | None = None
    token: str | None = None
    writable: bool = False
    hosts: tuple[str, ...] = ()
    device: str = "auto"
    workers: int = os.cpu_count() or 1
    max_waiting: int = 64
    max_batch: int = 16
    max_body_bytes: int = 32 * _MIB
    max_bodies_bytes: int = 256 * _MIB
    max_pixels: int = 50_000_000
    max_results: int = 1000
    max_uploads: int = 32
    deadline: float = 30.0
    change_deadline: float = 600.0
    body_timeout: float = 60.0
    idle_unload: float | None = 900.0
    poll_seconds: float = 1.0
    picture_cache_bytes: int = 64 * _MIB

    def __post_init__(self) -> None:
        if self.images is not None and not Path(self.images).is_dir():
            raise UsageError(f"images={self.images}: no such folder; give the folder that was indexed")
        if self.token is not None and (len(self.token) < MIN_TOKEN_LENGTH or not self.token.isascii()):
            raise UsageError(
                f"the token has {len(self.token)} characters; give at least {MIN_TOKEN_LENGTH} ASCII characters,"
                " such as those of: python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        if self.token is None and set(self.hosts) - set(LOOPBACK):
            raise UsageError(
                "a server that other machines can reach needs a token; give --token, or set VITDSI_TOKEN"
            )
        for name in ("workers", "max_waiting", "max_batch", "max_body_bytes", "max_pixels", "max_results"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")
