"""Every error that vitdsi raises on purpose.

VitdsiError                  base class; the command line prints its message as one line and exits with code 1
├── UsageError               a wrong argument, path or combination of them; exit code 2
│   └── ConfigError          an unknown configuration key, or a value of the wrong type or out of range
├── ImageReadError           a file that cannot be decoded as an image
├── UnreadableImagesError    several such files, where `strict` makes them an error
├── IndexFormatError         a folder that is not an index, is broken, or was written by a newer version
└── IndexLockedError         an index that another process is changing

A message is one line: the value that was given, what is allowed, and what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "ConfigError",
    "ImageReadError",
    "IndexFormatError",
    "IndexLockedError",
    "UnreadableImagesError",
    "UsageError",
    "VitdsiError",
]


class VitdsiError(Exception):
    """Base class of all errors that vitdsi raises on purpose.

    Attributes:
        exit_code: the code with which the command line exits.
    """

    exit_code = 1


class UsageError(VitdsiError):
    """The caller asked for something that cannot be done."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration key is unknown, or its value has the wrong type or is out of range."""


class ImageReadError(VitdsiError):
    """A file cannot be decoded as an image.

    Attributes:
        path: the path of the file, or a name for an image that is not a file.
        reason: why it cannot be decoded, without the path.
    """

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason


class UnreadableImagesError(VitdsiError):
    """Some files could not be decoded, and `strict` asked for an error."""

    def __init__(self, errors: Sequence[ImageReadError]) -> None:
        super().__init__(f"unreadable files: {len(errors)}; repair or remove them, or leave out --strict")
        self.errors = tuple(errors)


class IndexFormatError(VitdsiError):
    """A folder is not an index that this version of vitdsi can open."""


class IndexLockedError(VitdsiError):
    """Another process holds the write lock of the index."""
