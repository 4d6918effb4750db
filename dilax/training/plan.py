"""The length of a run, and the pieces in which it goes to the device."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jax import Array

from dilax._checks import LONGEST, integer
from dilax.training.epoch import shuffled_batches


@dataclasses.dataclass(frozen=True)
class Plan:
    """How many steps a run takes, and in which pieces they go to the device.

    >>> plan = Plan(num_images=60_000, batch_size=128, epochs=15)
    >>> plan.steps_per_epoch, plan.total_steps, plan.chunk_steps
    (468, 7020, 39)
    """

    num_images: int
    batch_size: int
    epochs: int
    most_chunks: int = 12
    """An epoch returns from the device at most so often, to move the bar and to hear Ctrl-C."""

    def __post_init__(self) -> None:
        for name in ("num_images", "batch_size", "epochs", "most_chunks"):
            integer(getattr(self, name), name, maximum=LONGEST)
        integer(self.num_images, "num_images", minimum=1)
        if not 0 < self.batch_size <= self.num_images:
            raise ValueError(
                f"batch_size must be from 1 to the number of training images (num_images="
                f"{self.num_images}), "
                f"received {self.batch_size}"
            )
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, received {self.epochs}")
        if self.most_chunks < 1:
            raise ValueError(f"most_chunks must be at least 1, received {self.most_chunks}")

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass over the images."""
        return self.num_images // self.batch_size

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    @property
    def chunk_steps(self) -> int:
        """Steps in one call to the device: equal chunks, so that one compilation serves all."""
        most = min(self.most_chunks, self.steps_per_epoch)
        divisors = (n for n in range(most, 0, -1) if self.steps_per_epoch % n == 0)
        return self.steps_per_epoch // next(divisors)

    def chunks(self, key: Array, *, step: int) -> Iterator[np.ndarray]:
        """Give the index batches `(chunk_steps, batch_size)` of an epoch from `step` on."""
        order = shuffled_batches(key, num_images=self.num_images, batch_size=self.batch_size)
        batches = np.asarray(order)
        for start in range(step % self.steps_per_epoch, self.steps_per_epoch, self.chunk_steps):
            yield batches[start : start + self.chunk_steps]
