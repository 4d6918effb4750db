"""A training of one of the programs, taken step by step by a benchmark."""

import benchmark  # noqa: F401
import jax
import numpy as np
from common.task import Task

from dilax.training.epoch import shuffled_batches
from dilax.training.feeds import Resident
from dilax.training.state import TrainState
from dilax.training.step import Totals


class Training:
    """A training under way: each call takes some steps and waits for the last.

    Args:
        task: what is trained on what.
        state: where it begins.
        steps: how many steps a call takes.
    """

    def __init__(self, task: Task, state: TrainState, *, steps: int) -> None:
        feed = Resident(task.train.images, task.train.labels, task.wrapper)
        size = task.config.batch_size
        order = shuffled_batches(jax.random.key(0), num_images=len(task.train), batch_size=size)
        self.data = feed.whole()
        self.batches = next(feed.chunks([np.resize(order, (steps, size))]))
        self.position = (task.wrapper.place_state(state), task.wrapper.replicate(Totals.zero()))
        train_steps = task.train_steps.lower(*self.position, self.data, self.batches)
        self.compiled = train_steps.compile()

    def __call__(self) -> object:
        """Take the steps; the buffers of the state before are given away."""
        self.position = self.compiled(*self.position, self.data, self.batches)
        return jax.block_until_ready(self.position)
