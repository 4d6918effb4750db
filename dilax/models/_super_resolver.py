"""A trained super-resolver: larger pictures, of pictures of any size."""

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
from dilax.models._super_resolution import SuperResolver
from dilax.models._tiles import LARGEST_TILE, LEAST_TILE, in_tiles
from dilax.models._trained import TrainedNetwork
from dilax.models._whole_pictures import answer_each

TILE = 256
CUBIC = 3
"""How far bicubic enlargement sees, in pixels."""


class Enlarged(NamedTuple):
    """Pictures that a network enlarged.

    >>> Enlarged([np.zeros((4, 6, 3), np.uint8)]).images[0].shape
    (4, 6, 3)
    """

    images: list[np.ndarray]
    """For each picture uint8 ``(scale H, scale W, C)``."""
    paths: tuple[Path, ...] = ()
    """The pictures, if files were given."""
    unread: tuple[tuple[Path, str], ...] = ()
    """Files that could not be used, and why."""


class TrainedSuperResolver(TrainedNetwork):
    """A trained network that enlarges pictures of any size.

    ``load`` creates it from the folder of a run or from a file.

    Args:
        network: The network with its weights; it is set to evaluation mode.
        description: What it is.

    >>> from dilax.models import Description, Preparation
    >>> preparation = Preparation(height=24, width=24, mean=(0.0,) * 3, std=(1.0,) * 3)
    >>> description = Description(
    ...     model="sr_dsdc", task="super_resolution", class_names=(), preparation=preparation
    ... )
    >>> model = TrainedSuperResolver(description.create(), description)
    >>> model.predict(np.zeros((40, 50, 3), np.uint8)).images[0].shape
    (80, 100, 3)
    """

    task = "super_resolution"
    network: SuperResolver

    def __repr__(self) -> str:
        return (
            f"TrainedSuperResolver({self.description.model}, {self.network.scale} times, "
            f"{len(self.preparation.mean)} channels)"
        )

    def predict(
        self,
        images: Any,
        *,
        tile: int = TILE,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Enlarged:
        """Enlarge pictures.

        A picture with a side longer than ``tile`` is computed in tiles that overlap by what an
        output sees of its surroundings, so that the answer is that of the whole picture.

        Args:
            images: A path of a picture (PNG, JPEG, WebP, GIF, BMP, TIFF, PPM) or of a folder of
                pictures, or a sequence of paths; or an array, ``(h, w)`` or ``(h, w, c)``, or with
                an axis of images before, uint8, uint16, bool, or floats in [0, 1]; or an image of
                Pillow, or a sequence of images.
            tile: Height and width of a tile in pixels. Each new size of pictures is compiled once.
            on_progress: Called after each picture, with the number so far and in all.

        Returns:
            The larger pictures, in order. Files that cannot be used are left out and listed in
            ``unread``.

        Raises:
            FileNotFoundError: A path leads nowhere.
            DataError: A folder holds no picture.
            ValueError: An array has another shape, type or range, or ``tile`` is below 64.
            TypeError: ``images`` is neither.
        """
        side = integer(tile, "tile", minimum=LEAST_TILE, maximum=LARGEST_TILE)
        check_callable(on_progress, "on_progress")
        answer = functools.partial(self._larger, tile=side)
        return Enlarged(*answer_each(images, self.preparation, answer, on_progress))

    def enlarge(self, images: jax.typing.ArrayLike) -> jax.Array:
        """Map images ``(N, H, W, C)``, uint8 or floats in [0, 1], to larger ones, floats in [0, 1].

        A pure function of its argument, to be used under ``jax.jit`` and other transformations.
        """
        return _enlarged(*nnx.split(self.network), jnp.asarray(images), self.preparation)

    def _larger(self, pixels: np.ndarray, tile: int) -> np.ndarray:
        """Enlarge one picture, in tiles if it is large."""
        parts, state = nnx.split(self.network)
        answer = functools.partial(_in_bytes, parts, state, preparation=self.preparation)
        if max(pixels.shape[:2]) <= tile:
            return np.asarray(answer(pixels[np.newaxis]))[0]
        margin = min(_margin(parts, state, tile, pixels.shape[-1]), tile // 4)
        return in_tiles(answer, pixels, tile=tile, margin=margin, scale=self.network.scale)


def _enlarged(graphdef: Any, state: Any, images: jax.Array, preparation: Preparation) -> jax.Array:
    outputs = nnx.merge(graphdef, state)(preparation.normalise(images))
    return jnp.clip(outputs.astype(jnp.float32), 0, 1)


@functools.partial(jax.jit, static_argnums=0, static_argnames="preparation")
def _in_bytes(
    graphdef: Any, state: Any, images: jax.Array, *, preparation: Preparation
) -> jax.Array:
    found = _enlarged(graphdef, state, images, preparation)
    return (255 * found).round().astype(jnp.uint8)


def _margin(graphdef: Any, state: Any, tile: int, channels: int) -> int:
    """Return how far an output sees, in pixels of the picture that is enlarged."""
    image = jax.ShapeDtypeStruct((1, tile, tile, channels), jnp.float32)

    def head(x: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, state).activations(x)["head"]

    field = analysis.receptive_field(head, image).outputs[0]
    return max(CUBIC, *(-(-axis.size // 2) for axis in field.axes))
