from __future__ import annotations

import io
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_images import difference, encoded, photo, stored_with
from PIL import Image, PngImagePlugin

from vitdsi.errors import ImageReadError, UsageError
from vitdsi.photos import decode as decode_module
from vitdsi.photos.decode import content_hash, decode, load_square, oriented_size, to_square

# ---- decode


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("PPM", {}, 0),
        ("JPEG", {"quality": 95}, 3),
        ("JPEG", {"quality": 95, "progressive": True}, 3),
        ("GIF", {}, 12),
    ],
)
def test_every_format_is_decoded(
    tmp_path: Path, kind: str, options: dict[str, Any], tolerance: float
) -> None:
    path = tmp_path / "x"
    path.write_bytes(encoded(photo(), kind, **options))
    for source in (path, str(path), path.read_bytes()):
        image = decode(source)
        assert (image.mode, image.size) == ("RGB", (96, 64))
        assert difference(image, photo()) <= tolerance


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "I;16", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    grey = photo().convert("L")
    if mode == "I;16":
        deep = (np.asarray(grey).astype(np.uint16) << 8) + 200
        source, expected = encoded(Image.fromarray(deep), "PNG"), grey
    elif mode == "CMYK":
        source, expected = encoded(photo().convert("CMYK"), "JPEG", quality=95), photo()
    else:
        base = photo() if mode in ("P", "RGBA") else grey
        source = encoded(base.convert(mode), "PNG")
        expected = base.convert(mode).convert("RGB")
    image = decode(source)
    assert image.mode == "RGB"
    assert difference(image, expected.convert("RGB")) < 3


@pytest.mark.parametrize(
    ("dtype", "white"),
    [(np.float32, 1.0), (np.float32, 255.0), (np.int32, 65535), (np.int32, 255), (np.int32, 10**6)],
)
def test_deep_grey_is_scaled_by_what_its_values_reach(dtype: type, white: float) -> None:
    ramp = np.linspace(0, white, 256).astype(dtype)[None].repeat(4, 0)
    image = decode(encoded(Image.fromarray(ramp), "TIFF"))
    assert difference(np.asarray(image)[..., 0], np.arange(256)[None].repeat(4, 0)) < 1


def test_nan_and_infinity_in_a_float_image_become_black() -> None:
    values = np.full((4, 4), 0.5, dtype=np.float32)
    values[0, 0], values[0, 1] = np.nan, np.inf
    pixels = np.asarray(decode(Image.fromarray(values)))
    assert pixels[0, 0, 0] == pixels[0, 1, 0] == 0
    assert pixels[1, 1, 0] == 128


def test_alpha_is_composited_on_white() -> None:
    image = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    image.putpixel((0, 0), (200, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 128))
    for kind in ("PNG", "TIFF"):
        pixels = np.asarray(decode(encoded(image, kind)))
        assert pixels[0, 0].tolist() == [200, 0, 0]
        assert pixels[0, 1].tolist() == [127, 127, 127]
        assert pixels[7, 7].tolist() == [255, 255, 255]


def test_transparent_palette_colour_is_white() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 0)
    pixels = np.asarray(decode(encoded(image, "PNG", transparency=bytes([255, 0]))))
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert pixels[3, 3].tolist() == [255, 255, 255]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    image = decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert np.asarray(image)[8, 8].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied_once(tmp_path: Path, kind: str, orientation: int) -> None:
    upright = photo(48, 32)
    stored = stored_with(upright, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    path = tmp_path / "x"
    path.write_bytes(encoded(stored, kind, exif=exif, **options))
    image = decode(path)
    assert image.size == oriented_size(path) == (48, 32)
    assert difference(image, upright) < 4
    assert difference(decode(image), image) == 0
    with Image.open(path) as opened:
        assert difference(decode(opened), image) == 0


def test_broken_exif_is_ignored() -> None:
    data = encoded(photo(), "JPEG", quality=95, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert difference(decode(data), photo()) < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_truncated_file_raises_with_its_path(tmp_path: Path, kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageReadError, match=r"cut\.jpg: \S") as caught:
        decode(path)
    assert caught.value.path == str(path)


def test_file_that_is_not_an_image_raises_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "folder").mkdir()
    for name, reason in (
        ("empty.jpg", "empty"),
        ("text.jpg", "not an image"),
        ("missing.jpg", "No such file"),
        ("folder", "not a file"),
    ):
        with pytest.raises(ImageReadError, match=reason):
            decode(tmp_path / name)
    with pytest.raises(ImageReadError, match="<bytes>: the file is empty"):
        decode(b"")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageReadError, match="not a file"):
        decode(tmp_path / "pipe.jpg")


def test_postscript_is_not_opened_by_its_content() -> None:
    with pytest.raises(ImageReadError, match="not an image"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")


def test_image_with_more_pixels_than_the_limit_is_refused() -> None:
    data = encoded(photo(100, 50), "PNG")
    assert decode(data, max_pixels=5000).size == (100, 50)
    with pytest.raises(ImageReadError, match="100 x 50 pixels are more than the limit of 4999"):
        decode(data, max_pixels=4999)
    with pytest.raises(ImageReadError, match="limit of 4999"):
        decode(photo(100, 50), max_pixels=4999)


@pytest.mark.parametrize("size", [(1_000_001, 1), (1, 1_000_001)])
def test_image_with_a_side_beyond_the_limit_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageReadError, match="no side may be longer than 1000000"):
        decode(encoded(Image.new("1", size), "PNG"))


def test_readers_that_need_more_memory_have_lower_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(decode_module._MAX_PIXELS_OF, "WEBP", 96 * 64 - 1)
    with pytest.raises(ImageReadError, match="96 x 64 pixels are more than the limit of 6143"):
        decode(encoded(photo(), "WEBP"))
    assert decode(encoded(photo(), "PNG")).size == (96, 64)


def test_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    header = encoded(Image.new("1", (8, 8)), "PNG")
    for side, reason in ((10_000, "100000000 pixels|10000 x 10000"), (50_000, "too many pixels")):
        ihdr = side.to_bytes(4, "big") * 2 + header[24:29]
        chunk = PngImagePlugin.putchunk
        buffer = io.BytesIO()
        buffer.write(header[:8])
        chunk(buffer, b"IHDR", ihdr)
        buffer.write(header[33:])
        with pytest.raises(ImageReadError, match=reason):
            decode(buffer.getvalue())


def test_min_side_decodes_jpegs_smaller_but_not_too_small() -> None:
    data = encoded(photo(1600, 1200), "JPEG", quality=90)
    assert decode(data, min_side=150).size == (200, 150)
    assert decode(data, min_side=151).size == (400, 300)
    assert decode(data, min_side=2000).size == (1600, 1200)
    assert decode(encoded(photo(640, 480), "PNG"), min_side=60).size == (640, 480)
    assert difference(load_square(data, 150), to_square(decode(data), 150)) < 2


def test_limit_counts_decoded_pixels_except_for_progressive_jpegs() -> None:
    assert decode(encoded(photo(800, 800), "JPEG"), min_side=100, max_pixels=10_000).size == (100, 100)
    progressive = encoded(photo(800, 800), "JPEG", progressive=True)
    assert decode(progressive, min_side=100).size == (100, 100)
    with pytest.raises(ImageReadError, match="800 x 800"):
        decode(progressive, min_side=100, max_pixels=10_000)


def test_arrays_and_pillow_images_are_decoded_to_copies() -> None:
    pixels = np.asarray(photo())
    assert difference(decode(pixels), pixels) == 0
    assert difference(decode(pixels[:, ::-1]), pixels[:, ::-1]) == 0
    assert np.asarray(decode(pixels[..., 0]))[3, 5].tolist() == [pixels[3, 5, 0]] * 3
    image = photo()
    assert decode(image) is not image
    for bad in (
        pixels.astype(np.float32),
        pixels[None],
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ):
        with pytest.raises(UsageError, match="images are uint8 arrays"):
            decode(bad)


def test_decoding_leaves_warnings_and_their_filters_alone(tmp_path: Path) -> None:
    def noisy() -> bytes:
        # Pillow warns of a palette image whose transparency is bytes, and of large sizes.
        image = Image.new("P", (9500, 9500), 1)
        image.putpalette([255, 0, 0, 0, 0, 255])
        return encoded(image, "PNG", transparency=bytes([255, 0]))

    data = noisy()
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(data)).close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        with pytest.raises(ImageReadError, match="limit"):
            decode(data)
        exif = encoded(photo(), "JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x05\x00\x01")
        threads = [threading.Thread(target=decode, args=(exif,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert list(warnings.filters) == before


def test_oriented_size_of_a_broken_file_raises(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"nothing")
    with pytest.raises(ImageReadError, match="not an image"):
        oriented_size(tmp_path / "x.jpg")


# ---- to_square, hash


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (64, 64), (1, 1), (10_000, 1), (1, 3000)])
def test_to_square_has_the_given_side_for_any_size(size: tuple[int, int]) -> None:
    square = to_square(photo(*size), 32)
    assert (square.shape, square.dtype) == ((32, 32, 3), np.uint8)


def test_to_square_resizes_and_crops_the_centre() -> None:
    image = photo(300, 200)
    reference = image.resize((96, 64), Image.Resampling.BICUBIC).crop((16, 0, 80, 64))
    assert difference(to_square(image, 64), reference) < 1


def test_content_hash_depends_on_the_bytes_alone(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"abc" * 10**6)
    two.write_bytes(b"abc" * 10**6)
    assert content_hash(one) == content_hash(two)
    assert len(content_hash(one)) == 32
    two.write_bytes(b"abc" * 10**6 + b"d")
    assert content_hash(one) != content_hash(two)
    (tmp_path / "3").touch()
    assert content_hash(tmp_path / "3") == "cae66941d9efbd404e4d88758ea67670"
    with pytest.raises(ImageReadError, match="No such file"):
        content_hash(tmp_path / "4")
