"""The optimiser and its learning rate over the run."""

from typing import Any

import jax
import optax

from dilax._arrays import as_array
from dilax._checks import LONGEST, integer, number

WARM_UP_SHARE = 0.2
"""Share of the run in which the learning rate rises."""
START_DIVISOR = 25.0
"""The run starts at the peak learning rate divided by this."""
SECOND_MOMENT_DECAY = 0.99
"""AdamW's second beta: small networks at high rates learn faster than 0.999 remembers."""


def one_cycle(peak: float, *, total_steps: int) -> optax.Schedule:
    """Learning rate that rises once along a line, and falls to 0 along half a cosine.

    From `peak / 25` it reaches `peak` after 20 % of the steps.

    Args:
        peak: the largest learning rate.
        total_steps: steps of the whole run.

    Raises:
        ValueError: `peak` or `total_steps` is not positive.

    Source: L. Smith and N. Topin, "Super-Convergence", 2018; the half cosine is that of I.
    Loshchilov and F. Hutter, "SGDR", 2017.

    >>> schedule = one_cycle(0.04, total_steps=100)
    >>> [round(float(schedule(step)), 5) for step in (0, 20, 100)]
    [0.0016, 0.04, 0.0]
    """
    peak = number(peak, "learning_rate, the peak,")
    if not peak > 0:
        raise ValueError(f"learning_rate must be positive, received {peak}; try 0.01")
    if integer(total_steps, "total_steps", maximum=LONGEST) < 1:
        raise ValueError(f"total_steps must be at least 1, received {total_steps}")
    return optax.warmup_cosine_decay_schedule(
        peak / START_DIVISOR,
        peak,
        warmup_steps=round(WARM_UP_SHARE * total_steps),
        decay_steps=total_steps,
    )


def adamw(
    learning_rate: optax.ScalarOrSchedule, *, weight_decay: float
) -> optax.GradientTransformation:
    """AdamW that decays kernels only.

    Biases, scales and other vectors are left out: pulling them to zero regularises nothing.

    Raises:
        ValueError: `weight_decay` is negative or not finite.
        TypeError: it is no number, or `learning_rate` neither a number nor a schedule.

    Source: I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", 2019.
    """
    if not callable(learning_rate) and not isinstance(learning_rate, jax.Array):
        number(learning_rate, "learning_rate")
    if not number(weight_decay, "weight_decay") >= 0:
        raise ValueError(f"weight_decay must not be negative, received {weight_decay}")
    return optax.adamw(
        learning_rate, b2=SECOND_MOMENT_DECAY, weight_decay=weight_decay, mask=is_kernel
    )


def is_kernel(params: Any) -> Any:
    """Say of each array of a pytree whether it is a kernel: two axes or more."""
    return jax.tree.map(lambda array: as_array(array, "each of params").ndim > 1, params)
