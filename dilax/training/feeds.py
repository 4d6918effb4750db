"""How the training images reach the device: whole, once; or in chunks, as they are needed."""

import concurrent.futures
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np

from dilax.training.step import Batch
from dilax.training.wrappers import Wrapper


class Feed(Protocol):
    """What training steps read."""

    def whole(self) -> Batch | None:
        """Give what every call of the training steps gets; None for nothing."""

    def chunks(self, rows: Iterable[np.ndarray]) -> Iterator[Any]:
        """Give what one call after the other gets, for indices `(steps, batch_size)` of images."""


@dataclasses.dataclass(frozen=True)
class Resident:
    """All images lie on the device; a chunk is indices into them."""

    images: np.ndarray
    labels: np.ndarray
    wrapper: Wrapper

    def whole(self) -> Batch:
        """Put all images on the device."""
        return self.wrapper.replicate(Batch(jnp.asarray(self.images), jnp.asarray(self.labels)))

    def chunks(self, rows: Iterable[np.ndarray]) -> Iterator[Any]:
        """Give the indices."""
        return map(self.wrapper.split, rows)


@dataclasses.dataclass(frozen=True)
class Streamed:
    """The images stay on the host; a chunk is images, gathered while the device has the one before.

    For sets that are larger than the device's memory: two chunks lie there at a time. The examples
    of every step are those of `Resident`.
    """

    images: np.ndarray
    """`np.memmap` will do."""
    labels: np.ndarray
    wrapper: Wrapper

    def whole(self) -> None:
        """Put nothing on the device."""

    def chunks(self, rows: Iterable[np.ndarray]) -> Iterator[Any]:
        """Give the examples, `(steps, batch_size, ...)`."""
        with concurrent.futures.ThreadPoolExecutor(max_workers=1) as ahead:
            coming = None
            for row in rows:
                gathered, coming = coming, ahead.submit(self._gather, row)
                if gathered is not None:
                    yield gathered.result()
            if coming is not None:
                yield coming.result()

    def _gather(self, rows: np.ndarray) -> Any:
        return self.wrapper.split((self.images[rows], self.labels[rows]))
