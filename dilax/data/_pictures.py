"""One picture file as an array of 8-bit pixels: any size, mode and orientation to one form."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageColor, ImageOps

from dilax._checks import integer, number, shown
from dilax.data._dataset import DataError

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
"""The formats that are read; EPS, for one, is a program that Pillow has another program run."""
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
)
MAX_PIXELS = 2**27
"""The largest picture that is decoded: more are a mistake, or meant to fill the memory."""
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """How a folder of pictures becomes arrays.

    Raises:
        TypeError: A value is of another type.
        ValueError: A value is outside its range.

    >>> PictureOptions(size=64, channels=1).description
    'cropped and resized to 64x64, grey, transparency on white'
    """

    size: int | None = None
    """Height and width in pixels: the middle of each picture is cropped to a square and resized.
    None keeps the pictures as they are, which must then be of one size."""
    channels: Literal[1, 3] = 3
    """1 for grey (ITU-R BT.601), 3 for red, green and blue."""
    background: str = "white"
    """Colour behind transparent parts, by a name or a code such as ``"#808080"``."""
    test_share: float = 0.2
    """Share of each class that is held out as the split ``test``, if the folder has none."""
    seed: int = 0
    """Seed of which pictures are held out, and of the order of all."""

    def __post_init__(self) -> None:
        """Check all values."""
        if self.size is not None:
            integer(self.size, "size", minimum=1, maximum=2**14)
        if integer(self.channels, "channels") not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, got {self.channels}.")
        if not 0 < number(self.test_share, "test_share") < 1:
            raise ValueError(f"test_share must be above 0 and below 1, got {self.test_share}.")
        integer(self.seed, "seed", minimum=0)
        try:
            ImageColor.getrgb(self.background)
        except (ValueError, TypeError, AttributeError):
            raise ValueError(
                f"background must be a colour such as 'white', got {shown(self.background)}."
            ) from None

    @property
    def description(self) -> str:
        """What is done to each picture, for records of experiments."""
        size = "" if self.size is None else f"cropped and resized to {self.size}x{self.size}, "
        colour = "grey" if self.channels == 1 else "RGB"
        return f"{size}{colour}, transparency on {self.background}"


def read_picture(path: Path, options: PictureOptions) -> np.ndarray:
    """Read a picture as uint8 ``(H, W, channels)``, of several frames the first.

    Raises:
        DataError: The file is damaged, no picture, or has too many pixels.
    """
    size = None if options.size is None else (options.size, options.size)
    return read_pixels(path, size=size, channels=options.channels, background=options.background)


def read_pixels(
    path: Path,
    *,
    size: tuple[int, int] | None,
    channels: int,
    background: str = "white",
    enough: int | None = None,
) -> np.ndarray:
    """Read a picture as :func:`read_picture` does, but with any height and width as ``size``.

    A JPEG is decoded at a fraction of its size if that suffices for ``size``, or if both of its
    sides then have at least ``enough`` pixels.
    """
    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            _check_pixels(image, path)
            if size is not None:
                image.draft(None, (2 * size[1], 2 * size[0]))
            elif enough is not None:
                image.draft(None, (enough, enough))
            return convert_image(image, size=size, channels=channels, background=background)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(_too_large(path, str(error))) from error
    except Exception as error:  # damaged files: whatever the decoders of Pillow raise
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        if isinstance(error, Image.UnidentifiedImageError):
            reason = f"its content is none of {', '.join(FORMATS)}"
        raise DataError(
            f"{path} cannot be read as a picture ({reason}); get it again or delete it."
        ) from error


def _check_pixels(image: Image.Image, path: Path) -> None:
    """Refuse too many pixels by the header alone, before memory is allocated for them."""
    if image.width * image.height > MAX_PIXELS:
        raise DataError(_too_large(path, f"{image.width}x{image.height}"))


def _too_large(path: Path, got: str) -> str:
    return f"{path} must have at most {MAX_PIXELS:,} pixels, got {got}; make it smaller."


def convert_image(
    image: Image.Image, *, size: tuple[int, int] | None, channels: int, background: str = "white"
) -> np.ndarray:
    """Convert an image of Pillow to uint8 ``(H, W, channels)``.

    Args:
        image: Of any mode and EXIF orientation.
        size: Height and width to which the middle of the image is cropped and resized, or None.
        channels: 1 or 3.
        background: The colour behind transparent parts.

    >>> convert_image(Image.new("RGBA", (6, 4)), size=(2, 2), channels=1)[0, 0].item()
    255
    """
    image = ImageOps.exif_transpose(image)
    image = _opaque(_eight_bits(image), background)
    image = image.convert("RGB" if channels == 3 else "L")
    if size is not None:
        image = ImageOps.fit(image, size[::-1], Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return pixels if channels == 3 else pixels[..., np.newaxis]


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow itself does so for 16-bit colours."""
    if image.mode != "I" and not image.mode.startswith("I;16"):
        if image.mode == "F":
            raise ValueError("its pixels are floating-point numbers without a known range")
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"16-bit pixels must be 0 to 65535, got {values.min()}..{values.max()}")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _opaque(image: Image.Image, background: str) -> Image.Image:
    if image.mode not in _WITH_ALPHA and "transparency" not in image.info:
        return image
    if image.mode == "La":  # Pillow converts it in two steps
        image = image.convert("LA")
    behind = Image.new("RGBA", image.size, background)
    return Image.alpha_composite(behind, image.convert("RGBA"))
