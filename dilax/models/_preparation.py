"""How a picture becomes the input of a trained network: its size, its colours, its mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from dilax._checks import LONGEST, entries, integer, number, shown
from dilax.data import DataError, augment
from dilax.data._objects import ENOUGH, find_object_size, isolate_object
from dilax.data._pictures import convert_image, read_pixels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
    """How pictures become the images that a network was trained on.

    A picture of another size is cropped in the middle to the shape of the images, and resized;
    colours become grey where the network takes grey images, and transparent parts white. Where the
    network was trained on objects on black of one size, as MNIST's digits are, the object is first
    found in the picture, on any even background, and shown in that form.

    Raises:
        TypeError: A value is of another type.
        ValueError: A value is out of range, or there are not 1 or 3 channels.

    >>> preparation = Preparation(height=8, width=8, mean=(0.5,), std=(0.25,))
    >>> preparation.from_array(np.full((16, 16, 3), 255, np.uint8)).shape
    (8, 8, 1)
    >>> preparation.normalise(np.ones((1, 8, 8, 1), np.float32))[0, 0, 0].item()
    2.0
    """

    height: int
    """Height of the images in pixels."""
    width: int
    """Width of the images in pixels."""
    mean: tuple[float, ...]
    """Mean of each channel, in [0, 1], which is subtracted."""
    std: tuple[float, ...]
    """Standard deviation of each channel, by which the result is divided."""
    object_size: int | None = None
    """Longer side, in pixels, of the bright object on black that the images show, if they do."""

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            integer(getattr(self, name), name, minimum=1, maximum=LONGEST)
        for name in ("mean", "std"):
            values = entries(getattr(self, name), name, "numbers")
            object.__setattr__(self, name, tuple(number(one, f"each of {name}") for one in values))
        if len(self.mean) not in (1, 3) or len(self.std) != len(self.mean):
            raise ValueError(
                "mean and std must have one entry for each of 1 or 3 channels, got "
                f"{len(self.mean)} and {len(self.std)}."
            )
        if not all(deviation > 0 for deviation in self.std):
            raise ValueError(f"std must be positive, got {self.std}.")
        if self.object_size is not None:
            longest = max(self.height, self.width)
            integer(self.object_size, "object_size", minimum=1, maximum=longest)

    @classmethod
    def of_images(
        cls,
        images: np.ndarray,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> Preparation:
        """Prepare pictures as training images are, uint8 ``(N, H, W, C)``.

        Args:
            images: The training images.
            mean: Mean of each channel, in [0, 1]; None for that of the images.
            std: Standard deviation of each channel; None for that of the images.
        """
        own_mean, own_std = statistics(images) if mean is None or std is None else ((), ())
        return cls(
            height=images.shape[1],
            width=images.shape[2],
            mean=tuple(own_mean if mean is None else mean),
            std=tuple(own_std if std is None else std),
            object_size=find_object_size(images),
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The height, width and channels of every image."""
        return self.height, self.width, len(self.mean)

    def normalise(self, images: jax.typing.ArrayLike) -> jax.Array:
        """Map images ``(N, H, W, C)``, uint8 or floats in [0, 1], to mean 0 and deviation 1."""
        return augment.normalize(images, mean=self.mean, std=self.std)

    def from_file(self, path: Path) -> np.ndarray:
        """Read a picture as uint8 ``(H, W, C)``.

        Raises:
            DataError: The file is damaged or no picture, has too many pixels, or shows no object
                where the network takes objects.
        """
        if self.object_size is None:
            return read_pixels(path, size=(self.height, self.width), channels=len(self.mean))
        pixels = read_pixels(path, size=None, channels=1, enough=ENOUGH)
        return self._isolated(pixels, str(path))

    def from_array(self, pixels: np.ndarray) -> np.ndarray:
        """Bring an array ``(h, w, c)`` to the form of the images.

        Its values are uint8, uint16, bool, or floats in [0, 1].

        Returns:
            uint8 ``(H, W, C)``; or floats, if they have this shape already.

        Raises:
            ValueError: Its values are of another type or range.
            DataError: It shows no object where the network takes objects.
        """
        pixels = _of_known_range(pixels)
        if pixels.dtype != np.uint8:
            if pixels.shape == self.image_shape and self.object_size is None:
                return pixels.astype(np.float32)
            pixels = (255 * pixels).round().astype(np.uint8)
        return self.from_image(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))

    def from_image(self, image: Image.Image) -> np.ndarray:
        """Convert an image of Pillow to uint8 ``(H, W, C)``.

        Raises:
            ValueError: Its pixels are floating-point numbers, or integers of more than 16 bits.
            DataError: It shows no object where the network takes objects.
        """
        size = None if self.object_size else (self.height, self.width)
        try:
            pixels = convert_image(image, size=size, channels=len(self.mean))
        except ValueError as error:
            raise ValueError(f"the image cannot be converted: {error}.") from error
        return self._isolated(pixels, "the image")

    def _isolated(self, pixels: np.ndarray, name: str) -> np.ndarray:
        if self.object_size is None:
            return pixels
        size = (self.height, self.width)
        try:
            return isolate_object(pixels, size=size, object_size=self.object_size)
        except DataError as error:
            raise DataError(f"{name} must show an object, got a picture in which {error}") from None


def statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute mean and standard deviation of each channel of uint8 images, as shares of 255.

    A deviation is at least 1 / 255, so that one can divide by it.

    >>> statistics(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1))
    ((0.5,), (0.5,))
    """
    pixels = images.reshape(-1, images.shape[-1])
    mean = pixels.mean(axis=0, dtype=np.float64) / 255
    square = np.square(pixels, dtype=np.uint32).mean(axis=0, dtype=np.float64) / 255**2
    std = np.maximum(np.sqrt(np.maximum(square - mean**2, 0)), 1 / 255)
    return tuple(mean.tolist()), tuple(std.tolist())


def as_pictures(images: Any, preparation: Preparation) -> np.ndarray:
    """Bring an array of one image or several to the form of a network's images.

    Args:
        images: ``(h, w)`` or ``(h, w, c)``, or with an axis of images before; uint8, uint16, bool,
            or floats in [0, 1]; or an image of Pillow; or a sequence of these.
        preparation: What the network takes.

    Returns:
        ``(N, H, W, C)``, uint8 or float32.

    Raises:
        TypeError: ``images`` cannot be converted to an array.
        ValueError: Their shape, type or values are others.
    """
    if isinstance(images, Image.Image):
        return preparation.from_image(images)[np.newaxis]
    if isinstance(images, list | tuple) and all(map(_is_image, images)) and images:
        return _joined([as_pictures(image, preparation) for image in images])
    array = _with_axes(_as_array(images))
    return np.stack([_prepared(preparation, each, n) for n, each in enumerate(array)])


def as_single_images(images: Any) -> list[Any]:
    """Split an array of one image or several, or a sequence of images, into single ones.

    Args:
        images: As for ``as_pictures``.

    Returns:
        Arrays ``(h, w, c)``, and images of Pillow.

    Raises:
        TypeError: ``images`` cannot be converted to an array.
        ValueError: Their shape is another one.
    """
    if isinstance(images, Image.Image):
        return [images]
    if isinstance(images, list | tuple) and all(map(_is_image, images)) and images:
        return [one for image in images for one in as_single_images(image)]
    return [*_with_axes(_as_array(images))]


def _as_array(images: Any) -> np.ndarray:
    try:
        return np.asarray(images)
    except Exception as error:  # conversion of an arbitrary object can raise anything
        raise TypeError(f"images must be an array or paths, got {shown(images)}.") from error


def _prepared(preparation: Preparation, image: np.ndarray, number: int) -> np.ndarray:
    try:
        return preparation.from_array(image)
    except DataError as error:
        raise DataError(f"images[{number}]: {error}") from error


def _is_image(value: Any) -> bool:
    return isinstance(value, Image.Image) or getattr(value, "ndim", 0) >= 2


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Join images, as floats in [0, 1] if there are any."""
    if len({part.dtype for part in parts}) > 1:
        parts = [part / np.float32(255) if part.dtype == np.uint8 else part for part in parts]
    return np.concatenate(parts)


def _with_axes(array: np.ndarray) -> np.ndarray:
    """Add the axes of images and channels, where they are missing."""
    if array.ndim == 2:
        array = array[np.newaxis, ..., np.newaxis]
    elif array.ndim == 3:
        one_image = array.shape[-1] in (1, 2, 3, 4)
        array = array[np.newaxis] if one_image else array[..., np.newaxis]
    if array.ndim != 4 or array.shape[-1] not in (1, 2, 3, 4) or 0 in array.shape:
        fix = ""
        if array.ndim == 4 and array.shape[1] in (1, 3, 4):
            fix = "; convert them by images.transpose(0, 2, 3, 1)"
        raise ValueError(
            "images must have shape (h, w), (h, w, c), (n, h, w) or (n, h, w, c), with 1 to 4 "
            f"channels, got {array.shape}{fix}."
        )
    return array


def _of_known_range(array: np.ndarray) -> np.ndarray:
    """Convert 16-bit pixels and booleans to 8 bits; refuse values whose range is not known."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise ValueError(
            f"images must be uint8, uint16, bool, or floats in [0, 1], got {array.dtype}; convert "
            "them by images.astype('uint8') if their values are 0 to 255."
        )
    array = array.astype(np.float32)
    if not (array.min() >= 0 and array.max() <= 1):  # also where a value is not a number
        raise ValueError(
            f"images of floats must lie in [0, 1], got {array.min():.4g} to {array.max():.4g}; "
            "divide them by 255 if their values are 0 to 255, and do not normalise them."
        )
    return array
