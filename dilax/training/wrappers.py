"""How the pure functions reach the hardware: one wrapper a way, one signature for all.

A wrapper takes `train_steps(state, totals, data, batches) -> (state, totals)` and gives back a
function of the same signature that runs it. The step itself knows nothing of it.
"""

from collections.abc import Callable
from typing import Protocol

import jax

from dilax.training.epoch import TrainSteps


class Compilable(Protocol):
    """What jax's wrappers return: a function that can be compiled ahead of its first call."""

    lower: Callable
    __call__: TrainSteps


Wrapper = Callable[[TrainSteps], Compilable]


def jit(train_steps: TrainSteps) -> Compilable:
    """Run on one device. The state and the totals are donated: their memory is reused."""
    return jax.jit(train_steps, donate_argnums=(0, 1))
