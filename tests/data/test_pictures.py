"""One picture of any mode, size and orientation, and files that are none."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dilax.data import DataError, PictureOptions, _pictures
from dilax.data._pictures import read_picture

GREY, COLOUR = PictureOptions(channels=1), PictureOptions()
ORIENTATION = 0x0112


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def one(mode: str, colour) -> Image.Image:
    return Image.new(mode, (6, 4), colour)


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "rgb", "grey"),
    [
        ("L", 100, "png", (100,) * 3, 100),
        ("1", 1, "png", (255,) * 3, 255),
        ("RGB", (200, 100, 50), "png", (200, 100, 50), 124),  # 0.299 R + 0.587 G + 0.114 B
        ("RGB", (200, 100, 50), "bmp", (200, 100, 50), 124),
        ("RGB", (200, 100, 50), "webp", None, None),
        ("P", 0, "gif", (0, 0, 0), 0),
        ("CMYK", (0, 0, 0, 255), "tif", (0, 0, 0), 0),
        ("CMYK", (255, 0, 0, 0), "tif", (0, 255, 255), 179),
        ("RGBA", (200, 100, 50, 0), "png", (255,) * 3, 255),
        ("RGBA", (200, 100, 50, 255), "png", (200, 100, 50), 124),
        ("LA", (100, 51), "png", (224,) * 3, 224),  # 100 / 5 + 255 * 4 / 5
        ("I;16", 65535, "png", (255,) * 3, 255),
        ("I;16", 257 * 100, "tif", (100,) * 3, 100),
    ],
)
def test_every_mode_becomes_grey_or_colour(tmp_path, mode, colour, suffix, rgb, grey):
    path = saved(tmp_path / f"one.{suffix}", one(mode, colour))
    pixels, luma = read_picture(path, COLOUR), read_picture(path, GREY)
    assert (pixels.shape, pixels.dtype) == ((4, 6, 3), np.uint8)
    assert luma.shape == (4, 6, 1)
    if rgb is not None:
        assert np.array_equal(np.unique(pixels.reshape(-1, 3), axis=0), [rgb])
        assert np.unique(luma).tolist() == [grey]


@pytest.mark.parametrize("background", ["black", "#0080ff"])
def test_transparent_parts_show_the_background(tmp_path, background):
    expected = {"black": (0, 0, 0), "#0080ff": (0, 128, 255)}[background]
    options = PictureOptions(background=background)
    palette = one("P", 0)
    palette.putpalette([9, 9, 9])
    for name, image, more in (
        ("alpha", one("RGBA", (9, 9, 9, 0)), {}),
        ("palette", palette, {"transparency": 0}),
        ("colour", one("RGB", (9, 9, 9)), {"transparency": (9, 9, 9)}),
    ):
        pixels = read_picture(saved(tmp_path / f"{name}.png", image, **more), options)
        assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [list(expected)], name


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "I;16"])
def test_the_orientation_of_a_camera_is_heeded(tmp_path, orientation, mode):
    """By the definition of the tag: where the first row and the first column are seen."""
    seen = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    turn = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].T,
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    stored = np.ascontiguousarray(turn(seen))
    wide = stored.astype(np.uint16) * 257 if mode == "I;16" else np.stack([stored] * 3, axis=-1)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = saved(tmp_path / "turned.png", Image.fromarray(wide), exif=exif)
    assert np.array_equal(read_picture(path, GREY)[..., 0], seen)


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (50, 90), (1, 1), (300, 200)])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_every_size_is_cropped_to_the_middle_and_resized(tmp_path, size, suffix):
    """The borders beyond the middle square are white, and not seen."""
    image, side = Image.new("RGB", size, "white"), min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    image.paste((80, 80, 80), (left, top, left + side, top + side))
    path = saved(tmp_path / f"one.{suffix}", image)
    pixels = read_picture(path, PictureOptions(size=28, channels=1))
    assert pixels.shape == (28, 28, 1)
    assert np.abs(pixels[2:-2, 2:-2].astype(int) - 80).max() <= 2


def test_a_large_photograph_is_decoded_at_a_fraction_of_its_size(tmp_path):
    ramp = np.linspace(0, 255, 800).astype(np.uint8)
    path = saved(tmp_path / "ramp.jpg", Image.fromarray(np.tile(ramp, (800, 1))), quality=95)
    pixels = read_picture(path, PictureOptions(size=32, channels=1))[..., 0].astype(int)
    middles = (np.arange(32) + 0.5) * 255 / 32
    assert np.abs(pixels - middles).max() < 4


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(
        ">I", zlib.crc32(kind + content)
    )  # fmt: skip


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that declares ``side`` x ``side`` pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.parametrize("side", [12_000, 20_000, 60_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bombs_are_refused_by_their_header(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(bomb(side))
    with pytest.raises(DataError, match=r"bomb.png must have at most 134,217,728 pixels, got"):
        read_picture(tmp_path / "bomb.png", PictureOptions(size=28))


def whole(tmp_path: Path, suffix: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    return saved(tmp_path / f"whole.{suffix}", Image.fromarray(noise)).read_bytes()


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "webp"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"not a picture at all",
        lambda content: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n" + content,
    ],
    ids=["half", "empty", "text", "a program"],
)
def test_damaged_files_are_named(tmp_path, suffix, damage):
    path = tmp_path / f"damaged.{suffix}"
    path.write_bytes(damage(whole(tmp_path, suffix)))
    with pytest.raises(DataError, match=rf"damaged.{suffix} cannot be read as a picture \(.+\); "):
        read_picture(path, COLOUR)


@pytest.mark.long
@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "tif", "webp", "ppm"])
@pytest.mark.filterwarnings("ignore")
def test_flipped_bytes_are_pixels_or_an_error(tmp_path, suffix):
    random, content = np.random.default_rng(0), whole(tmp_path, suffix)
    path = tmp_path / f"flipped.{suffix}"
    for _ in range(300):
        flipped = bytearray(content)
        for place in random.integers(0, len(content), 3):
            flipped[place] = random.integers(256)
        path.write_bytes(flipped)
        try:
            assert read_picture(path, PictureOptions(size=8)).shape == (8, 8, 3)
        except DataError as error:
            assert path.name in str(error)


def test_pixels_without_a_known_range_are_refused(tmp_path):
    path = saved(tmp_path / "heights.tif", one("F", 0.5))
    with pytest.raises(DataError, match=r"heights.tif cannot .* floating-point numbers"):
        read_picture(path, COLOUR)
    path = saved(tmp_path / "wide.tif", one("I", 70_000))
    with pytest.raises(DataError, match=r"wide.tif cannot .* 0 to 65535, got 70000\.\.70000"):
        read_picture(path, COLOUR)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be at least 1"),
        ({"size": 2.5}, "size must be an integer"),
        ({"channels": 4}, "channels must be 1 or 3, got 4"),
        ({"test_share": 1.0}, "test_share must be above 0 and below 1, got 1.0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"background": "whitish"}, "background must be a colour such as 'white', got 'whitish'"),
        ({"background": None}, "background must be a colour"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        PictureOptions(**options)


def test_no_format_that_starts_other_programs_is_read():
    assert not {"EPS", "WMF", "FPX", "PDF", "SPIDER"} & set(_pictures.FORMATS)
