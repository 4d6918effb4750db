"""How the pure functions reach the hardware: one wrapper a way, one signature for all.

A wrapper takes `train_steps(state, totals, data, batches) -> (state, totals)` and gives back a
function of the same signature that runs it. The step itself knows nothing of it.
"""

from collections.abc import Callable

import jax
from jax.stages import Wrapped

from dilax._checks import check_callable
from dilax.training.epoch import TrainSteps

Wrapper = Callable[[TrainSteps], Wrapped]


def jit(train_steps: TrainSteps) -> Wrapped:
    """Run on one device. The state and the totals are donated: their memory is reused."""
    check_callable(train_steps, "train_steps")
    return jax.jit(train_steps, donate_argnums=(0, 1))
