"""All errors that vitdsi raises on purpose.

VitdsiError                  base; the command line prints its message as one line and exits with 1
├── UsageError               a wrong argument, path or combination; exit code 2
│   └── ConfigError          an unknown or ill-typed configuration key
├── ImageReadError           one file that cannot be decoded; `path` and `reason` say which and why
├── IndexFormatError         a folder that is no index, a broken one, or one of a newer version
└── IndexLockedError         another process is changing the index
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "ImageReadError",
    "IndexFormatError",
    "IndexLockedError",
    "UsageError",
    "VitdsiError",
]


class VitdsiError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class UsageError(VitdsiError):
    """The caller asked for something that cannot be done; the message says what can."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration key is unknown or its value has the wrong type or range."""


class ImageReadError(VitdsiError):
    """A file could not be decoded as an image."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason


class IndexFormatError(VitdsiError):
    """The folder is not an index that this version can open."""


class IndexLockedError(VitdsiError):
    """Another process holds the index's write lock."""
