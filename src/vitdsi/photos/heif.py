"""HEIF files, such as HEIC photos of phones: recognised by their first bytes, opened by pillow-heif if it is there."""

from __future__ import annotations

from PIL import Image

from vitdsi.errors import VitdsiError

__all__ = ["HEADER_BYTES", "formats_for"]

HEADER_BYTES = 64  # enough for the brands of a file

_AVIF_BRANDS = frozenset([b"avif", b"avis"])
_HEIF_BRANDS = frozenset([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"])


def formats_for(header: bytes) -> tuple[str, ...]:
    """Return the only Pillow format that can open a HEIF or AVIF file, or () for any other file.

    The opener of HEIF files is registered with Pillow when the first one is met, since few collections need it.

    Args:
        header: the first `HEADER_BYTES` bytes of the file. They begin with its brands (ISO/IEC 14496-12, section 4.3).

    Raises:
        VitdsiError: the package that reads such files is not installed.
    """
    brands = _brands(header)
    if brands & _AVIF_BRANDS:
        Image.init()
        if "AVIF" not in Image.OPEN:
            raise VitdsiError("AVIF needs Pillow 11.3 or newer; install it with: pip install -U pillow")
        return ("AVIF",)
    if brands & _HEIF_BRANDS:
        if "HEIF" not in Image.OPEN:
            try:
                from pillow_heif import register_heif_opener
            except ImportError as error:
                raise VitdsiError(
                    "HEIC needs pillow-heif; install it with: pip install 'vitdsi[heic]'"
                ) from error
            register_heif_opener()
        return ("HEIF",)
    return ()


def _brands(header: bytes) -> set[bytes]:
    """Return the main brand of an ISO base media file and the brands that it is compatible with."""
    if header[4:8] != b"ftyp":
        return set()
    end = min(len(header), int.from_bytes(header[:4], "big"))
    return {header[8:12], *(header[start : start + 4] for start in range(16, end - 3, 4))}
