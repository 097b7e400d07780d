"""Image files that are broken on purpose: case n is the same bytes each time, given the same encoders."""

from __future__ import annotations

import functools
import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

_NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_BOMB_SHARE = 0.01  # of the cases: each of them may take seconds
_BOMB_SIDES = ((9400, 9500), (20_000, 20_000), (65_535, 65_535), (80_000_000, 1), (1, 80_000_000))
_MEGABYTE = 1 << 20


def mutated(case: int) -> tuple[str, bytes]:
    """Return the format of the file of a case, and its broken content."""
    rng = random.Random(f"image {case}")
    if rng.random() < _BOMB_SHARE:
        name = rng.choice(list(_BOMBS))
        return f"bomb {name}", _BOMBS[name](rng)
    kind = rng.choice(list(_SEEDS))
    mutation = rng.choice(_MUTATIONS)
    data = mutation(bytearray(seed(kind)), rng)
    if rng.random() < 0.2:  # two faults of one file
        data = rng.choice(_MUTATIONS[:-1])(bytearray(data), rng)
    return kind, bytes(data)


@functools.cache
def seed(kind: str) -> bytes:
    """Return a valid file of a kind, one of `_SEEDS`."""
    form, mode, options = _SEEDS[kind]
    if form == "HEIF":
        from pillow_heif import register_heif_opener

        register_heif_opener()
    stream = io.BytesIO()
    frames = [_picture(mode, number) for number in range(3)]
    more = {"save_all": True, "append_images": frames[1:]} if options.get("animated") else {}
    options = {key: value for key, value in options.items() if key != "animated"}
    frames[0].save(stream, form, **options, **more)
    return stream.getvalue()


def _picture(mode: str, number: int) -> Image.Image:
    rng = np.random.default_rng(number)
    pixels = np.kron(rng.integers(0, 256, (8, 12, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    pixels[::3] = rng.integers(0, 256, pixels[::3].shape)
    if mode in ("I;16", "F"):
        grey = pixels[..., 0].astype(np.uint16 if mode == "I;16" else np.float32)
        return Image.fromarray(grey * 200)
    return Image.fromarray(pixels).convert(mode)


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0132] = 6, "Maker", "2020:01:02 03:04:05"
    exif.get_ifd(0x8769)[0x829A] = 0.01
    exif.get_ifd(0x8825)[0x0002] = (1.0, 2.0, 3.0)
    return exif


def _text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 2000, zip=True)
    info.add_itxt("Title", "a name")
    return info


_ICC = b"\0" * 3000
_SEEDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "JPEG": ("JPEG", "RGB", {"exif": _exif(), "icc_profile": _ICC}),
    "progressive JPEG": ("JPEG", "RGB", {"progressive": True}),
    "CMYK JPEG": ("JPEG", "CMYK", {}),
    "MPO": ("MPO", "RGB", {"animated": True}),
    "PNG": ("PNG", "RGB", {"exif": _exif(), "icc_profile": _ICC, "pnginfo": _text()}),
    "palette PNG": ("PNG", "P", {"transparency": 3}),
    "deep PNG": ("PNG", "I;16", {}),
    "animated PNG": ("PNG", "RGBA", {"animated": True}),
    "GIF": ("GIF", "P", {}),
    "animated GIF": ("GIF", "P", {"animated": True}),
    "WebP": ("WEBP", "RGB", {"exif": _exif(), "icc_profile": _ICC}),
    "lossless WebP": ("WEBP", "RGBA", {"lossless": True}),
    "animated WebP": ("WEBP", "RGB", {"animated": True}),
    "TIFF": ("TIFF", "RGB", {"exif": _exif()}),
    "LZW TIFF": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "JPEG in TIFF": ("TIFF", "RGB", {"compression": "jpeg"}),
    "deflated TIFF": ("TIFF", "RGBA", {"compression": "tiff_adobe_deflate", "animated": True}),
    "float TIFF": ("TIFF", "F", {}),
    "fax TIFF": ("TIFF", "1", {"compression": "group4"}),
    "BMP": ("BMP", "RGB", {}),
    "palette BMP": ("BMP", "P", {}),
    "HEIC": ("HEIF", "RGB", {"exif": _exif().tobytes()}),
    "several HEIC": ("HEIF", "RGBA", {"animated": True}),
    "AVIF": ("AVIF", "RGB", {}),
    "JPEG 2000": ("JPEG2000", "RGB", {}),
    "PPM": ("PPM", "RGB", {}),
}


def _flips(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _early_flips(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.choice((1, 2, 4))):
        data[rng.randrange(min(200, len(data)))] = rng.randrange(256)
    return data


def _cut(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data))]


def _splice(data: bytearray, rng: random.Random) -> bytearray:
    other = seed(rng.choice(list(_SEEDS)))
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def _repeat(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data))
    piece = data[start : start + rng.randrange(1, 400)]
    return data[:start] + piece * rng.choice((2, 50, 500)) + data[start:]


def _remove(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randrange(1, 400) :]


def _zeros(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randrange(1, 400))
    data[start:end] = bytes(end - start)
    return data


def _lying_header(data: bytearray, rng: random.Random) -> bytearray:
    """Replace numbers of two or four bytes near the beginning, such as sizes, lengths and offsets."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        code = rng.choice(("<H", ">H", "<I", ">I"))
        value = rng.choice(_NUMBERS) & (0xFFFF if code[1] == "H" else 0xFFFFFFFF)
        place = rng.randrange(min(400, max(1, len(data) - 4)))
        data[place : place + struct.calcsize(code)] = struct.pack(code, value)
    if data[:4] == b"\x89PNG":
        _repair_checksums(data)
    return data


def _lying_size(data: bytearray, rng: random.Random) -> bytearray:
    """Give a file another width and height, with correct checksums."""
    width, height = (rng.choice((0, 1, 7, 121, 5000, 65_535)) for _ in range(2))
    if data[:4] == b"\x89PNG":
        data[16:24] = struct.pack(">II", width, height)
        _repair_checksums(data)
    elif data[:2] == b"\xff\xd8":
        for marker in (b"\xff\xc0", b"\xff\xc2"):
            place = data.find(marker)
            if place > 0:
                data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    elif data[:3] == b"GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif data[:2] == b"BM":
        data[18:26] = struct.pack("<ii", width, rng.choice((height, -height)))
    elif data[:4] == b"II*\0":
        for tag in (b"\0\1\3\0\1\0\0\0", b"\1\1\3\0\1\0\0\0"):
            place = data.find(tag)
            if place > 0:
                data[place + 8 : place + 10] = struct.pack("<H", width)
    elif (place := data.find(b"ispe")) > 0:  # HEIC and AVIF
        data[place + 8 : place + 16] = struct.pack(">II", width, height)
    elif (place := data.find(b"VP8X")) > 0:
        data[place + 12 : place + 15] = struct.pack("<I", width)[:3]
    return data


def _nested(data: bytearray, rng: random.Random) -> bytearray:
    """Put a file into the place where another one keeps a profile, EXIF data, a comment or a box of its own."""
    inner = bytes(data)
    for _ in range(rng.choice((1, 3, 40))):
        way = rng.randrange(4)
        if way == 0:
            inner = struct.pack(">I4s", (len(inner) + 8) & 0xFFFFFFFF, rng.choice((b"meta", b"moov"))) + inner
        elif way == 1:
            inner = b"RIFF" + struct.pack("<I", len(inner) + 4) + b"WEBP" + inner
        elif way == 2:
            inner = b"\xff\xd8\xff\xe1" + struct.pack(">H", min(65_535, len(inner) + 2)) + inner
        else:
            inner = _with_chunk(seed("palette PNG"), b"eXIf", inner)
    return bytearray(inner if rng.random() < 0.5 else seed("HEIC")[:40] + inner)


def _metadata(data: bytearray, rng: random.Random) -> bytearray:
    """Add EXIF data or a colour profile that is huge, circular or nonsense."""
    circular = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x8769, 4, 1, 8) + struct.pack("<I", 8)
    boastful = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x9286, 2, 0xFFFFFFF0, 4) + bytes(4)
    crowded = b"II*\0\x08\0\0\0" + b"\xff\xff" + struct.pack("<HHII", 0x0112, 3, 1, 6) * 65_535 + bytes(4)
    exif = rng.choice((circular, boastful, crowded, rng.randbytes(3000), bytes(5 * _MEGABYTE)))
    if data[:4] == b"\x89PNG":
        return bytearray(_with_chunk(bytes(data), b"eXIf", exif))
    if data[:2] == b"\xff\xd8":
        parts = [b"Exif\0\0" + exif[start : start + 65_000] for start in range(0, len(exif), 65_000)]
        segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts[:100])
        return data[:2] + segments + data[2:]
    if data[:4] == b"RIFF":
        body = data[8:] + b"EXIF" + struct.pack("<I", len(exif)) + exif
        return bytearray(b"RIFF" + struct.pack("<I", len(body)) + body)
    return data + exif


def _text_file(data: bytearray, rng: random.Random) -> bytearray:
    """Replace what follows the first bytes, by which a format is recognised."""
    return data[: rng.randrange(2, 30)] + rng.choice(
        (rng.randbytes(3000), b"<svg/>" * 300, b"%!PS\n" * 300, bytes(3000))
    )


_MUTATIONS: list[Callable[[bytearray, random.Random], bytearray]] = [
    _flips,
    _early_flips,
    _cut,
    _splice,
    _repeat,
    _remove,
    _zeros,
    _lying_header,
    _lying_size,
    _nested,
    _text_file,
    _metadata,
]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    return png[:33] + _chunk(kind, content) + png[33:]


def _repair_checksums(png: bytearray) -> None:
    place = 8
    while place + 12 <= len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        end = place + 8 + length
        if end + 4 > len(png):
            return
        png[end : end + 4] = struct.pack(">I", zlib.crc32(png[place + 4 : end]))
        place = end + 4


def _deflated(count: int) -> bytes:
    """Compress zeros, in pieces."""
    packer = zlib.compressobj(9)
    pieces = [packer.compress(bytes(min(_MEGABYTE, count - done))) for done in range(0, count, _MEGABYTE)]
    return b"".join([*pieces, packer.flush()])


def _png_bomb(rng: random.Random) -> bytes:
    width, height = rng.choice(_BOMB_SIDES)
    colour, depth, size = rng.choice(((0, 8, 1), (2, 8, 3), (3, 8, 1), (4, 8, 2), (6, 8, 4), (0, 16, 2)))
    count = min(width * height * size + height, 400 * _MEGABYTE)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [_chunk(b"IHDR", header), _chunk(b"PLTE", bytes(30)), _chunk(b"tRNS", bytes(3))]
    kept = parts if colour == 3 else parts[:1]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*kept, _chunk(b"IDAT", _deflated(count)), _chunk(b"IEND", b"")])


def _text_bomb(rng: random.Random) -> bytes:
    packed = _deflated(900 * _MEGABYTE)
    kind, prefix = rng.choice(((b"zTXt", b"a\0\0"), (b"iCCP", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")))
    return _with_chunk(seed("palette PNG"), kind, prefix + packed)


def _tiff_bomb(rng: random.Random) -> bytes:
    """One strip of zeros, also as floats, which must not need three times their size."""
    width, height = rng.choice(_BOMB_SIDES)
    bits, form, bands = rng.choice(((8, 1, 1), (16, 1, 1), (32, 3, 1), (8, 1, 3), (8, 1, 4)))
    strip = _deflated(min(width * height * bands * bits // 8, 400 * _MEGABYTE))
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, bits),
        (259, 3, 8),
        (262, 3, 1 if bands == 1 else 2),
        (273, 4, 8),
        (274, 3, rng.choice((1, 6))),
        (277, 3, bands),
        (278, 4, height),
        (279, 4, len(strip)),
        (339, 3, form),
    ]
    if bands > 1:
        tags = [tag for tag in tags if tag[0] != 258]
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in tags
    )
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(strip))
        + strip
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )


def _encoded_bomb(rng: random.Random) -> bytes:
    """A plain picture close to the limit of pixels, from an encoder."""
    form, mode, options = rng.choice(
        (
            ("JPEG", "RGB", {"exif": _exif()}),
            ("JPEG", "CMYK", {"progressive": True}),
            ("GIF", "P", {}),
            ("BMP", "1", {}),
            ("WEBP", "RGB", {"method": 0}),
        )
    )
    stream = io.BytesIO()
    Image.new(mode, (9400, 9500)).save(stream, form, **options)
    return stream.getvalue()


_BOMBS: dict[str, Callable[[random.Random], bytes]] = {
    "PNG": _png_bomb,
    "text": _text_bomb,
    "TIFF": _tiff_bomb,
    "encoded": _encoded_bomb,
}
