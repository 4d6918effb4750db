"""A trained detector: boxes of objects in pictures of any size."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dilax._checks import check_callable, integer, number
from dilax.models._detection import Detector
from dilax.models._preparation import Preparation
from dilax.models._trained import TrainedNetwork
from dilax.models._whole_pictures import answer_each

MOST = 100
_MOST_ALLOWED = 10_000


class Objects(NamedTuple):
    """The objects found in pictures.

    >>> box = np.array([[1, 2, 9, 8]], np.float32)
    >>> found = Objects([box], [np.array([0.9])], [np.array([1])], ("cat", "dog"))
    >>> found.named(0)
    [('dog', 0.9, (1.0, 2.0, 9.0, 8.0))]
    """

    boxes: list[np.ndarray]
    """For each picture float32 ``(K, 4)``: top, left, bottom and right, in pixels, the last two
    behind the object; the most probable object comes first."""
    scores: list[np.ndarray]
    """For each picture float32 ``(K,)``: probabilities."""
    labels: list[np.ndarray]
    """For each picture int32 ``(K,)``, indices into ``class_names``."""
    class_names: tuple[str, ...]
    """The name of each class."""
    paths: tuple[Path, ...] = ()
    """The pictures, if files were given."""
    unread: tuple[tuple[Path, str], ...] = ()
    """Files that could not be used, and why."""

    def named(self, place: int) -> list[tuple[str, float, tuple[float, ...]]]:
        """Return class, probability and box of each object in one picture."""
        each = zip(self.labels[place], self.scores[place], self.boxes[place], strict=True)
        return [
            (self.class_names[label], float(score), tuple(map(float, box)))
            for label, score, box in each
        ]


class TrainedDetector(TrainedNetwork):
    """A trained network that finds objects, for pictures of any size.

    ``load`` creates it from the folder of a run or from a file.

    Args:
        network: The network with its weights; it is set to evaluation mode.
        description: What it is.

    >>> from dilax.models import Description, Preparation
    >>> preparation = Preparation(height=72, width=72, mean=(0.1,), std=(0.3,))
    >>> description = Description(
    ...     model="centers_dsdc", task="detection", class_names=tuple("0123456789"),
    ...     preparation=preparation,
    ... )
    >>> model = TrainedDetector(description.create(), description)
    >>> len(model.predict(np.zeros((40, 50), np.uint8)).boxes)
    1
    """

    task = "detection"
    network: Detector

    def __repr__(self) -> str:
        return (
            f"TrainedDetector({self.description.model}, {len(self.class_names)} classes, "
            f"{len(self.preparation.mean)} channels)"
        )

    def predict(
        self,
        images: Any,
        *,
        least_score: float = 0.3,
        most: int = MOST,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Objects:
        """Find objects and their boxes.

        Args:
            images: A path of a picture (PNG, JPEG, WebP, GIF, BMP, TIFF, PPM) or of a folder of
                pictures, or a sequence of paths; or an array, ``(h, w)`` or ``(h, w, c)``, or with
                an axis of images before, uint8, uint16, bool, or floats in [0, 1]; or an image of
                Pillow, or a sequence of images. Pictures keep their size; objects should be about
                as large in pixels as those that the network was trained on.
            least_score: Probability from which on an object is returned.
            most: Most objects in a picture. Each new size of pictures is compiled once.
            on_progress: Called after each picture, with the number so far and in all.

        Returns:
            The objects, in the order of the pictures. Files that cannot be used are left out and
            listed in ``unread``.

        Raises:
            FileNotFoundError: A path leads nowhere.
            DataError: A folder holds no picture.
            ValueError: An array has another shape, type or range, or an option is out of range.
            TypeError: ``images`` is neither.
        """
        if not 0 <= number(least_score, "least_score") <= 1:
            raise ValueError(f"least_score must be from 0 to 1, got {least_score}.")
        most = integer(most, "most", minimum=1, maximum=_MOST_ALLOWED)
        check_callable(on_progress, "on_progress")
        answer = functools.partial(self._objects, least_score=least_score, most=most)
        found, paths, unread = answer_each(images, self.preparation, answer, on_progress)
        boxes, scores, labels = ([one[n] for one in found] for n in range(3))
        return Objects(boxes, scores, labels, self.class_names, paths, unread)

    def outputs(self, images: jax.typing.ArrayLike) -> dict[str, jax.Array]:
        """Map images ``(N, H, W, C)``, uint8 or floats in [0, 1], to heat, size and offset.

        A pure function of its argument, to be used under ``jax.jit`` and other transformations.
        """
        return _outputs(*nnx.split(self.network), jnp.asarray(images), self.preparation)

    def _objects(self, pixels: np.ndarray, least_score: float, most: int) -> tuple[np.ndarray, ...]:
        """Find the objects of one picture, clipped to it."""
        parts, state = nnx.split(self.network)
        found = _decoded(parts, state, pixels[np.newaxis], self.preparation, most)
        boxes, scores, labels = (np.asarray(each)[0] for each in found)
        kept = scores >= max(least_score, np.finfo(np.float32).tiny)
        limits = np.asarray(pixels.shape[:2] * 2, np.float32)
        return np.clip(boxes[kept], 0, limits), scores[kept], labels[kept]


def _outputs(
    graphdef: Any, state: Any, images: jax.Array, preparation: Preparation
) -> dict[str, jax.Array]:
    found = nnx.merge(graphdef, state)(preparation.normalise(images))
    return {name: each.astype(jnp.float32) for name, each in found.items()}


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def _decoded(
    graphdef: Any, state: Any, images: jax.Array, preparation: Preparation, most: int
) -> Any:
    from dilax.training import Detection

    outputs = _outputs(graphdef, state, images, preparation)
    grid = nnx.merge(graphdef, state).GRID
    classes = outputs["heat"].shape[-1]
    return Detection(classes=classes, stride=grid, most=most).decode(outputs)
