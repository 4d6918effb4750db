"""A training run of one of the programs, which a benchmark advances step by step."""

import benchmark  # noqa: F401
import jax
import numpy as np
from common.experiment import Experiment

from dilax.training import ResidentLoader, Totals, TrainState, shuffled_batches


class Training:
    """A training run: each call takes some steps and waits for the last one.

    Args:
        experiment: An experiment of a program.
        state: The initial state.
        steps: Number of steps in a call.
    """

    def __init__(self, experiment: Experiment, state: TrainState, *, steps: int) -> None:
        train, parallelism = experiment.examples.train, experiment.parallelism
        loader = ResidentLoader(train, parallelism)
        size = experiment.config.batch_size
        order = shuffled_batches(jax.random.key(0), num_examples=train.size, batch_size=size)
        self.data = loader.data()
        self.batches = next(loader.chunks([np.resize(order, (steps, size))]))
        self.position = (
            parallelism.place_state(state),
            parallelism.replicate(Totals.zero(experiment.task)),
        )
        train_steps = experiment.train_steps.lower(*self.position, self.data, self.batches)
        self.compiled = train_steps.compile()

    def __call__(self) -> object:
        """Take the steps; the buffers of the previous state are donated."""
        self.position = self.compiled(*self.position, self.data, self.batches)
        return jax.block_until_ready(self.position)
