"""The learning rate over the run."""

import optax

from dilax._checks import LONGEST, integer, number

WARM_UP_SHARE = 0.2
"""Share of the run in which the learning rate rises."""
START_DIVISOR = 25.0
"""The run starts at the peak learning rate divided by this."""


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
    peak, total_steps = _checked(peak, total_steps)
    return optax.warmup_cosine_decay_schedule(
        peak / START_DIVISOR,
        peak,
        warmup_steps=round(WARM_UP_SHARE * total_steps),
        decay_steps=total_steps,
    )


def cosine(peak: float, *, total_steps: int) -> optax.Schedule:
    """Learning rate that falls from `peak` to 0 along half a cosine.

    Args:
        peak: the largest learning rate.
        total_steps: steps of the whole run.

    Raises:
        ValueError: `peak` or `total_steps` is not positive.

    Source: I. Loshchilov and F. Hutter, "SGDR", 2017, without restarts.

    >>> schedule = cosine(0.04, total_steps=100)
    >>> [round(float(schedule(step)), 5) for step in (0, 50, 100)]
    [0.04, 0.02, 0.0]
    """
    peak, total_steps = _checked(peak, total_steps)
    return optax.cosine_decay_schedule(peak, decay_steps=total_steps)


def _checked(peak: float, total_steps: int) -> tuple[float, int]:
    peak = number(peak, "learning_rate, the peak,")
    if not peak > 0:
        raise ValueError(f"learning_rate must be positive, received {peak}; try 0.01")
    if integer(total_steps, "total_steps", maximum=LONGEST) < 1:
        raise ValueError(f"total_steps must be at least 1, received {total_steps}")
    return peak, total_steps
