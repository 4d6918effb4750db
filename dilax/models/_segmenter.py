"""A trained segmenter: a class for each pixel of pictures of any size."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dilax import analysis
from dilax._checks import check_callable, integer
from dilax.models._preparation import Preparation
from dilax.models._segmentation import Segmenter
from dilax.models._tiles import LARGEST_TILE, LEAST_TILE, in_tiles
from dilax.models._trained import TrainedNetwork
from dilax.models._whole_pictures import answer_each

TILE = 512


class Segments(NamedTuple):
    """The class of each pixel of pictures.

    >>> found = Segments([np.array([[0, 0, 1, 0]], np.uint8)], ("ground", "water"))
    >>> found.shares(0)
    {'ground': 0.75, 'water': 0.25}
    """

    masks: list[np.ndarray]
    """For each picture uint8 ``(H, W)``, indices into ``class_names``."""
    class_names: tuple[str, ...]
    """The name of each class."""
    paths: tuple[Path, ...] = ()
    """The pictures, if files were given."""
    unread: tuple[tuple[Path, str], ...] = ()
    """Files that could not be used, and why."""

    def top(self, count: int) -> list[list[tuple[str, float]]]:
        """Return the ``count`` classes with the most pixels of each picture, and their shares."""
        integer(count, "count", minimum=1)
        shares = [self.shares(place) for place in range(len(self.masks))]
        return [sorted(each.items(), key=lambda pair: -pair[1])[:count] for each in shares]

    def shares(self, place: int) -> dict[str, float]:
        """Return the share of pixels of each class in one picture."""
        mask = self.masks[place]
        counts = np.bincount(mask.ravel(), minlength=len(self.class_names)) / mask.size
        return dict(zip(self.class_names, counts.tolist(), strict=True))


class TrainedSegmenter(TrainedNetwork):
    """A trained network that finds the class of each pixel, for pictures of any size.

    ``load`` creates it from the folder of a run or from a file.

    Args:
        network: The network with its weights; it is set to evaluation mode.
        description: What it is.

    >>> from dilax.models import Description, Preparation
    >>> preparation = Preparation(height=64, width=64, mean=(0.1,), std=(0.3,))
    >>> description = Description(
    ...     model="unet_dsdc", task="segmentation", class_names=("ground", "water"),
    ...     preparation=preparation,
    ... )
    >>> model = TrainedSegmenter(description.create(), description)
    >>> model.predict(np.zeros((40, 50), np.uint8)).masks[0].shape
    (40, 50)
    """

    task = "segmentation"
    network: Segmenter

    def __repr__(self) -> str:
        return (
            f"TrainedSegmenter({self.description.model}, {len(self.class_names)} classes, "
            f"{len(self.preparation.mean)} channels)"
        )

    def predict(
        self,
        images: Any,
        *,
        tile: int = TILE,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Segments:
        """Find the class of each pixel.

        A picture with a side longer than ``tile`` is computed in tiles that overlap by what an
        output sees of its surroundings, so that the answer is that of the whole picture. A network
        that pools over the whole image, as ``deeplab_dsdc``, sees its tile alone, and its tiles
        overlap by half.

        Args:
            images: A path of a picture (PNG, JPEG, WebP, GIF, BMP, TIFF, PPM) or of a folder of
                pictures, or a sequence of paths; or an array, ``(h, w)`` or ``(h, w, c)``, or with
                an axis of images before, uint8, uint16, bool, or floats in [0, 1]; or an image of
                Pillow, or a sequence of images. Pictures keep their size.
            tile: Height and width of a tile in pixels. Each new size of pictures is compiled once.
            on_progress: Called after each picture, with the number so far and in all.

        Returns:
            The masks, in the order of the pictures. Files that cannot be used are left out and
            listed in ``unread``.

        Raises:
            FileNotFoundError: A path leads nowhere.
            DataError: A folder holds no picture.
            ValueError: An array has another shape, type or range, or ``tile`` is below 64.
            TypeError: ``images`` is neither.
        """
        side = integer(tile, "tile", minimum=LEAST_TILE, maximum=LARGEST_TILE)
        check_callable(on_progress, "on_progress")
        answer = functools.partial(self._mask, tile=side)
        masks, paths, unread = answer_each(images, self.preparation, answer, on_progress)
        return Segments(masks, self.class_names, paths, unread)

    def logits(self, images: jax.typing.ArrayLike) -> jax.Array:
        """Map images ``(N, H, W, C)``, uint8 or floats in [0, 1], to ``(N, H, W, classes)``.

        A pure function of its argument, to be used under ``jax.jit`` and other transformations.
        """
        return _logits(*nnx.split(self.network), jnp.asarray(images), self.preparation)

    def _mask(self, pixels: np.ndarray, tile: int) -> np.ndarray:
        """Find the class of each pixel of one picture, in tiles if it is large."""
        height, width, channels = pixels.shape
        parts, state = nnx.split(self.network)
        answer = functools.partial(_classes, parts, state, preparation=self.preparation)
        if max(height, width) <= tile:
            return np.asarray(answer(pixels[np.newaxis]))[0]
        stride = self.network.STRIDE
        tile -= tile % stride
        margin = self._margin(tile, channels)
        filled = _filled(pixels, stride, self.preparation)
        mask = in_tiles(answer, filled, tile=tile, margin=margin, stride=stride)
        return mask[:height, :width]

    def _margin(self, tile: int, channels: int) -> int:
        """Return how far an output sees, in pixels; a quarter of a tile if that is everything."""
        return _margin(*nnx.split(self.network), self.network.STRIDE, tile, channels)


def _logits(graphdef: Any, state: Any, images: jax.Array, preparation: Preparation) -> jax.Array:
    return nnx.merge(graphdef, state)(preparation.normalise(images)).astype(jnp.float32)


@functools.partial(jax.jit, static_argnums=0, static_argnames="preparation")
def _classes(
    graphdef: Any, state: Any, images: jax.Array, *, preparation: Preparation
) -> jax.Array:
    return _logits(graphdef, state, images, preparation).argmax(-1).astype(jnp.uint8)


def _margin(graphdef: Any, state: Any, stride: int, tile: int, channels: int) -> int:
    image = jax.ShapeDtypeStruct((1, tile, tile, channels), jnp.float32)
    field = analysis.receptive_field(lambda x: nnx.merge(graphdef, state)(x), image)
    sees = max(axis.size for axis in field.outputs[0].axes)
    margin = -(-sees // (2 * stride)) * stride + stride
    return margin if 4 * margin <= tile else tile // (4 * stride) * stride


def _filled(pixels: np.ndarray, stride: int, preparation: Preparation) -> np.ndarray:
    """Pad to a multiple of the stride with what is zero when it is normalised, as the network does.

    Returns:
        Floats in [0, 1]: the mean is no 8-bit number.
    """
    height, width, channels = pixels.shape
    shape = (height + -height % stride, width + -width % stride, channels)
    filled = np.broadcast_to(np.asarray(preparation.mean, np.float32), shape).copy()
    whole = pixels if pixels.dtype != np.uint8 else pixels / np.float32(255)
    filled[:height, :width] = whole
    return filled
