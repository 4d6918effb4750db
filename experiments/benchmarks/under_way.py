"""A training of one of the programs, taken step by step by a benchmark."""

import benchmark  # noqa: F401
import jax
import numpy as np
from common.task import Task

from dilax.training import ResidentLoader, Totals, TrainState, shuffled_batches


class Training:
    """A training under way: each call takes some steps and waits for the last.

    Args:
        task: what is trained on what.
        state: where it begins.
        steps: how many steps a call takes.
    """

    def __init__(self, task: Task, state: TrainState, *, steps: int) -> None:
        train, parallelism = task.images.train, task.parallelism
        loader = ResidentLoader(train.images, train.labels, parallelism)
        size = task.config.batch_size
        order = shuffled_batches(jax.random.key(0), num_images=len(train), batch_size=size)
        self.data = loader.data()
        self.batches = next(loader.chunks([np.resize(order, (steps, size))]))
        self.position = (parallelism.place_state(state), parallelism.replicate(Totals.zero()))
        train_steps = task.train_steps.lower(*self.position, self.data, self.batches)
        self.compiled = train_steps.compile()

    def __call__(self) -> object:
        """Take the steps; the buffers of the state before are given away."""
        self.position = self.compiled(*self.position, self.data, self.batches)
        return jax.block_until_ready(self.position)
