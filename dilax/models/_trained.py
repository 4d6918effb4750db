"""A trained network with all that it takes to ask it what a picture shows."""

from __future__ import annotations

import concurrent.futures
import functools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from dilax._checks import check_callable, check_instance, integer, shown
from dilax.data import DataError
from dilax.data._finding import find_pictures
from dilax.models._classifier import Classifier
from dilax.models._description import Description
from dilax.models._preparation import Preparation, as_pictures

_LARGEST_BATCH = 2**16
Find = Callable[[Iterable[Path]], list[Path]]


class Predictions(NamedTuple):
    """What a network says of pictures, texts or sounds.

    >>> found = Predictions(np.array([[0.2, 0.8]]), ("cat", "dog"))
    >>> found.classes
    ['dog']
    >>> found.top(2)[0]
    [('dog', 0.8), ('cat', 0.2)]
    """

    probabilities: np.ndarray
    """``(N, classes)`` float32; each row adds up to 1."""
    class_names: tuple[str, ...]
    """The name of each class."""
    paths: tuple[Path, ...] = ()
    """The pictures or sounds, if files were given."""
    unread: tuple[tuple[Path, str], ...] = ()
    """Files that could not be used, and why."""
    notes: tuple[str, ...] = ()
    """What was done to files besides reading them, such as resampling."""

    @property
    def labels(self) -> np.ndarray:
        """The most probable class of each input, as integers ``(N,)``."""
        return self.probabilities.argmax(axis=-1)

    @property
    def classes(self) -> list[str]:
        """The name of the most probable class of each input."""
        return [self.class_names[label] for label in self.labels]

    def top(self, count: int) -> list[list[tuple[str, float]]]:
        """Return the ``count`` most probable classes of each input, with their probabilities."""
        integer(count, "count", minimum=1)
        orders = np.argsort(-self.probabilities, axis=-1, kind="stable")[:, :count]
        return [
            [(self.class_names[label], float(row[label])) for label in order]
            for row, order in zip(self.probabilities, orders, strict=True)
        ]


class TrainedNetwork:
    """A trained network with what it takes to use it. The base class of ``TrainedClassifier``.

    ``load`` creates it from the folder of a run or from a file.

    Args:
        network: The network with its weights; it is set to evaluation mode.
        description: What it is.
    """

    task: str
    """What the network was trained to do, as its description says."""

    def __init__(self, network: nnx.Module, description: Description) -> None:
        check_instance(network, nnx.Module, "network")
        check_instance(description, Description, "description")
        network.eval()
        self.network = network
        """The Flax NNX module, which maps prepared inputs to outputs."""
        self.description = description
        """What it is."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class, in the order of the logits."""
        return self.description.class_names

    @property
    def preparation(self) -> Any:
        """How pictures, or texts, become its input."""
        return self.description.preparation

    def predict(self, inputs: Any) -> Any:
        """Answer pictures, or texts; each kind of network has answers of its own."""
        raise NotImplementedError


class TrainedClassifier(TrainedNetwork):
    """A trained classifier, its classes, and how pictures become its input.

    ``load`` creates it from the folder of a run or from a file.

    Args:
        network: The network with its weights; it is set to evaluation mode.
        description: What it is.

    >>> from dilax.models import Description, Preparation
    >>> preparation = Preparation(height=28, width=28, mean=(0.1,), std=(0.3,))
    >>> description = Description(
    ...     model="mnist_dsdc", class_names=tuple("0123456789"), preparation=preparation
    ... )
    >>> model = TrainedClassifier(description.create(), description)
    >>> model.predict(np.zeros((5, 28, 28), np.uint8)).probabilities.shape
    (5, 10)
    """

    task = "classification"
    network: Classifier

    def __repr__(self) -> str:
        height, width, channels = self.preparation.image_shape
        return (
            f"TrainedClassifier({self.description.model}, {len(self.class_names)} classes, images "
            f"{height}x{width}x{channels})"
        )

    def predict(
        self,
        images: Any,
        *,
        batch_size: int = 64,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Predictions:
        """Compute the probability of each class for pictures.

        Args:
            images: A path of a picture (PNG, JPEG, WebP, GIF, BMP, TIFF, PPM) or of a folder of
                pictures, or a sequence of paths; or an array, ``(h, w)`` or ``(h, w, c)``, or with
                an axis of images before, uint8, uint16, bool, or floats in [0, 1]; or an image of
                Pillow, or a sequence of images. Pictures may have any size, mode and EXIF
                orientation; see ``Preparation``.
            batch_size: Number of pictures that are computed together.
            on_progress: Called after each batch of files, with the number of pictures so far and in
                all.

        Returns:
            The probabilities, in the order of the pictures. Files that cannot be used are left out
            and listed in ``unread``.

        Raises:
            FileNotFoundError: A path leads nowhere.
            DataError: A folder holds no picture, or an array shows no object, where the network
                takes objects.
            ValueError: An array has another shape, type or range.
            TypeError: ``images`` is neither.
        """
        size = integer(batch_size, "batch_size", minimum=1, maximum=_LARGEST_BATCH)
        check_callable(on_progress, "on_progress")
        if isinstance(images, Iterator | set | frozenset):
            images = list(images)
        paths = self._paths(images)
        if paths is None:
            pixels = self._arrays(images)
            parts = [self._probabilities(pixels[n : n + size]) for n in range(0, len(pixels), size)]
            return Predictions(np.concatenate(parts), self.class_names)
        found = [np.empty((0, len(self.class_names)), np.float32)]
        used: list[Path] = []
        unread: list[tuple[Path, str]] = []
        for start in range(0, len(paths), size):
            chunk = paths[start : start + size]
            pictures = _read(chunk, self.preparation)
            pairs = list(zip(chunk, pictures, strict=True))
            if read := [one for one in pictures if isinstance(one, np.ndarray)]:
                found.append(self._probabilities(np.stack(read), least=min(size, len(paths))))
            used += [path for path, one in pairs if isinstance(one, np.ndarray)]
            unread += [(path, one) for path, one in pairs if isinstance(one, str)]
            on_progress(start + len(chunk), len(paths))
        return Predictions(np.concatenate(found), self.class_names, tuple(used), tuple(unread))

    def logits(self, images: jax.typing.ArrayLike) -> jax.Array:
        """Map images ``(N, H, W, C)``, uint8 or floats in [0, 1], to logits ``(N, classes)``.

        A pure function of its argument, to be used under ``jax.jit`` and other transformations.
        """
        pixels = jnp.asarray(images)
        return logits_of(
            *nnx.split(self.network), pixels, self.preparation, self.description.mirrored
        )

    def _paths(self, images: Any) -> list[Path] | None:
        """Return the files that are meant; None if ``images`` are arrays."""
        return as_paths(images)

    def _arrays(self, images: Any) -> np.ndarray:
        """Bring arrays to the form of the network's input."""
        return as_pictures(images, self.preparation)

    def _probabilities(self, pixels: np.ndarray, *, least: int = 0) -> np.ndarray:
        """Compute the probabilities of one batch, filled up to ``least`` images."""
        missing = max(least - len(pixels), 0)
        filled = np.pad(pixels, [(0, missing), *[(0, 0)] * (pixels.ndim - 1)])
        found = probabilities_of(
            *nnx.split(self.network), filled, self.preparation, self.description.mirrored
        )
        return np.asarray(found)[: len(pixels)]


def logits_of(
    graphdef: Any, state: Any, images: Any, preparation: Any, mirrored: bool = False
) -> jax.Array:
    """Prepare inputs and map them to logits, which ``mirrored`` averages over mirror images."""
    network = nnx.merge(graphdef, state)
    prepared = preparation.normalise(images)
    logits = network(prepared)
    if mirrored:
        logits = (logits + network(prepared[..., ::-1, :])) / 2
    return logits.astype(jnp.float32)


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def probabilities_of(
    graphdef: Any, state: Any, images: Any, preparation: Any, mirrored: bool = False
) -> jax.Array:
    """Compute the probability of each class, compiled."""
    return jax.nn.softmax(logits_of(graphdef, state, images, preparation, mirrored))


def as_paths(images: Any, *, find: Find = find_pictures, name: str = "images") -> list[Path] | None:
    """Return the files that are meant; None if ``images`` is an array.

    Args:
        images: A path, paths, or an array.
        find: Lists the files that paths lead to.
        name: The name of the argument, for messages.

    Raises:
        FileNotFoundError: A path leads nowhere.
        DataError: A folder holds no such file.
        TypeError: Paths and arrays are mixed.
    """
    if isinstance(images, str | os.PathLike):
        return find([Path(images)])
    if not isinstance(images, Sequence) or not any(map(_is_path, images)):
        return None
    if other := [one for one in images if not _is_path(one)]:
        raise TypeError(f"{name} must be an array or paths, got paths and {shown(other[0])}.")
    return find(map(Path, images))


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def _read(paths: Sequence[Path], preparation: Preparation) -> list[np.ndarray | str]:
    """Read pictures in threads; for one that cannot be used, say why.

    Pillow warns of large pictures and odd metadata; what it cannot read, it raises.
    """

    def read(path: Path) -> np.ndarray | str:
        try:
            return preparation.from_file(path)
        except DataError as error:
            return str(error)

    with (
        warnings.catch_warnings(action="ignore"),
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as executor,
    ):
        return list(executor.map(read, paths))
