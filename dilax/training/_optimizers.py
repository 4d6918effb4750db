"""Optimisers and learning rate schedules, each with its source."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from optax import contrib

from dilax._arrays import as_array
from dilax._checks import LONGEST, check_callable, integer, number, shown

SECOND_MOMENT_DECAY = 0.99
"""AdamW's second beta: at high learning rates, small networks learn faster than with 0.999."""
MOMENTUM = 0.9
"""Momentum of stochastic gradient descent."""
UPDATE_RMS = 0.2
"""Root mean square of Muon's updates at learning rate 1, about that of AdamW's."""
WARM_UP_SHARE = 0.2
"""Share of the run in which the one-cycle learning rate rises."""
START_DIVISOR = 25.0
"""The one-cycle learning rate starts at its peak divided by this."""

Mask = Callable[[Any], Any]
"""``params -> booleans``: which arrays decay."""


def is_kernel(params: Any) -> Any:
    """Select the kernels in a pytree: arrays of two axes or more.

    >>> import jax.numpy as jnp
    >>> is_kernel({"kernel": jnp.ones((3, 3, 1, 8)), "bias": jnp.ones(8)})
    {'bias': False, 'kernel': True}
    """
    return jax.tree.map(lambda array: as_array(array, "each of params").ndim > 1, params)


def mixes_features(params: Any) -> Any:
    """Select the kernels with more than one input feature per group, so no depthwise ones.

    A. Howard et al., "MobileNets", 2017, section 3.2, decay depthwise kernels little or not at all,
    because they have so few parameters.
    """
    return jax.tree.map(
        lambda array: as_array(array, "each of params").ndim > 1 and array.shape[-2] > 1, params
    )


def everything(params: Any) -> Any:
    """Select every array in a pytree."""
    return jax.tree.map(lambda _: True, params)


def one_cycle(peak: float, *, total_steps: int) -> optax.Schedule:
    """Raise the learning rate linearly, then lower it to 0 along half a cosine.

    It rises from ``peak / 25`` to ``peak`` in the first 20 % of the steps.

    Args:
        peak: The largest learning rate.
        total_steps: Steps of the whole run.

    Raises:
        ValueError: ``peak`` or ``total_steps`` is not positive.
        TypeError: One of them is not a number.

    Source: L. Smith and N. Topin, "Super-Convergence", 2018; the half cosine is from I. Loshchilov
    and F. Hutter, "SGDR", 2017.

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
    """Lower the learning rate from ``peak`` to 0 along half a cosine.

    Args:
        peak: The largest learning rate.
        total_steps: Steps of the whole run.

    Raises:
        ValueError: ``peak`` or ``total_steps`` is not positive.
        TypeError: One of them is not a number.

    Source: I. Loshchilov and F. Hutter, "SGDR", 2017, without restarts.

    >>> schedule = cosine(0.04, total_steps=100)
    >>> [round(float(schedule(step)), 5) for step in (0, 50, 100)]
    [0.04, 0.02, 0.0]
    """
    peak, total_steps = _checked(peak, total_steps)
    return optax.cosine_decay_schedule(peak, decay_steps=total_steps)


def adamw(
    learning_rate: optax.ScalarOrSchedule, *, weight_decay: float, mask: Mask = is_kernel
) -> optax.GradientTransformation:
    """Build AdamW, with weight decay on kernels only.

    Biases, scales and other vectors do not decay: it would not regularise the network.

    Args:
        learning_rate: A number or a schedule.
        weight_decay: Share of an array that a step at learning rate 1 removes.
        mask: Selects the arrays that decay.

    Raises:
        ValueError: ``weight_decay`` is negative or not finite.
        TypeError: ``weight_decay`` is not a number, ``learning_rate`` neither a number nor a
            schedule, or ``mask`` not a function.

    Source: I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", 2019.

    >>> import jax.numpy as jnp
    >>> adamw(0.1, weight_decay=0.01).init({"bias": jnp.zeros(3)})[0].mu["bias"].shape
    (3,)
    """
    _check(learning_rate, weight_decay, mask)
    return optax.adamw(learning_rate, b2=SECOND_MOMENT_DECAY, weight_decay=weight_decay, mask=mask)


def nesterov(
    learning_rate: optax.ScalarOrSchedule, *, weight_decay: float, mask: Mask = is_kernel
) -> optax.GradientTransformation:
    """Build stochastic gradient descent with Nesterov momentum and an L2 penalty on kernels.

    The penalty ``weight_decay / 2 * sum(kernel**2)`` is part of the gradient, so momentum and
    learning rate apply to it.

    Args:
        learning_rate: A number or a schedule.
        weight_decay: Factor of the penalty.
        mask: Selects the arrays with a penalty.

    Raises:
        ValueError: ``weight_decay`` is negative or not finite.
        TypeError: ``weight_decay`` is not a number, ``learning_rate`` neither a number nor a
            schedule, or ``mask`` not a function.

    Source: I. Sutskever et al., "On the importance of initialization and momentum in deep
    learning", 2013.

    >>> import jax.numpy as jnp
    >>> optimizer = nesterov(0.5, weight_decay=0.0)
    >>> step, _ = optimizer.update(jnp.ones(2), optimizer.init(jnp.zeros(2)), jnp.zeros(2))
    >>> [round(float(length), 2) for length in step]  # 0.5 * (1 + 0.9) of the first gradient
    [-0.95, -0.95]
    """
    _check(learning_rate, weight_decay, mask)
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask),
        optax.sgd(learning_rate, momentum=MOMENTUM, nesterov=True),
    )


def muon(
    learning_rate: optax.ScalarOrSchedule, *, weight_decay: float, mask: Mask = is_kernel
) -> optax.GradientTransformation:
    """Build Muon for kernels that mix features, with AdamW for all other arrays.

    The momentum of a kernel ``(*window, in, out)``, as a matrix of ``out`` columns, is replaced by
    the nearest matrix with orthogonal rows or columns. Depthwise kernels do not mix features and
    are left to AdamW. Updates are scaled to the size of AdamW's, so that one learning rate fits
    both.

    Args:
        learning_rate: A number or a schedule.
        weight_decay: Share of an array that a step at learning rate 1 removes.
        mask: Selects the arrays that decay.

    Raises:
        ValueError: ``weight_decay`` is negative or not finite.
        TypeError: ``weight_decay`` is not a number, ``learning_rate`` neither a number nor a
            schedule, or ``mask`` not a function.

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the
    scale is from J. Liu et al., "Muon is scalable for LLM training", 2025.

    >>> import jax.numpy as jnp
    >>> optimizer = muon(1.0, weight_decay=0.0)
    >>> kernel = jnp.eye(2)
    >>> step, _ = optimizer.update(3 * kernel, optimizer.init(kernel), kernel)
    >>> bool((step == -step[0, 0] * -kernel).all())  # of equal length in all directions
    True
    """
    others = adamw(learning_rate, weight_decay=weight_decay, mask=mask)

    def as_matrices(params: Any) -> Any:
        def matrix(array: jax.Array) -> contrib.MuonDimensionNumbers:
            *inside, outside = range(array.ndim)
            return contrib.MuonDimensionNumbers(tuple(inside), (outside,))

        return jax.tree.map(matrix, params)

    def labels(params: Any) -> Any:
        return jax.tree.map(lambda mixes: "mixing" if mixes else "other", mixes_features(params))

    mixing = contrib.muon(
        learning_rate,
        weight_decay=weight_decay,
        weight_decay_mask=mask,
        muon_weight_dimension_numbers=as_matrices,
        consistent_rms=UPDATE_RMS,
    )
    return optax.multi_transform({"mixing": mixing, "other": others}, labels)


def clipped(
    optimizer: optax.GradientTransformation, *, norm: float
) -> optax.GradientTransformation:
    """Clip the global norm of the gradients to ``norm`` before ``optimizer`` receives them.

    Raises:
        ValueError: ``norm`` is not positive and finite.
        TypeError: ``norm`` is not a number, or ``optimizer`` not an optax optimiser.

    Source: R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural
    networks", 2013.

    >>> import jax.numpy as jnp
    >>> optimizer = clipped(optax.sgd(1.0), norm=1.0)
    >>> step, _ = optimizer.update(jnp.array([3.0, 4.0]), optimizer.init(jnp.zeros(2)))
    >>> [round(float(length), 2) for length in step]
    [-0.6, -0.8]
    """
    check_optimizer(optimizer)
    if not number(norm, "norm") > 0:
        raise ValueError(f"norm must be positive, got {norm}; usual values are 0.1 to 10.")
    return optax.chain(optax.clip_by_global_norm(norm), optimizer)


def except_frozen(
    optimizer: optax.GradientTransformation, frozen: Callable[[tuple[Any, ...]], bool]
) -> optax.GradientTransformation:
    """Apply an optimiser to all but the frozen parameters, which do not decay either.

    Args:
        optimizer: The optimiser of the other parameters.
        frozen: Whether the parameter at a path, in the keys of ``jax.tree_util``, is frozen.

    Raises:
        TypeError: ``optimizer`` is not an optax optimiser, or ``frozen`` not a function.

    >>> import jax.numpy as jnp
    >>> optimizer = except_frozen(optax.sgd(1.0), lambda path: path[0].key == "head")
    >>> params = {"body": jnp.ones(1), "head": jnp.ones(1)}
    >>> step, _ = optimizer.update(params, optimizer.init(params), params)
    >>> float(step["body"][0]), float(step["head"][0])
    (-1.0, 0.0)
    """
    check_optimizer(optimizer)
    check_callable(frozen, "frozen")

    def labels(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "frozen" if frozen(path) else "moving", params
        )

    return optax.multi_transform({"moving": optimizer, "frozen": optax.set_to_zero()}, labels)


def scaled(
    optimizer: optax.GradientTransformation,
    chosen: Callable[[tuple[Any, ...]], bool],
    *,
    factor: float,
) -> optax.GradientTransformation:
    """Scale the updates of some parameters: the learning rate that they have, times a factor.

    Published parameters, for example, are near their place already, where those of a new head are
    not. Their weight decay is scaled, too. A factor of 0 leaves them as they are, but the optimiser
    keeps its moments for them; ``except_frozen`` keeps none.

    Args:
        optimizer: The optimiser of all parameters.
        chosen: Whether the updates of the parameter at a path, in the keys of ``jax.tree_util``,
            are scaled.
        factor: The factor, 0 or more.

    Raises:
        ValueError: ``factor`` is negative or not finite.
        TypeError: ``optimizer`` is not an optax optimiser, ``chosen`` not a function, or ``factor``
            not a number.

    Source: J. Howard and S. Ruder, "Universal Language Model Fine-tuning for Text Classification",
    2018, section 3.2, discriminative fine-tuning.

    >>> import jax.numpy as jnp
    >>> optimizer = scaled(optax.sgd(1.0), lambda path: path[0].key == "body", factor=0.5)
    >>> params = {"body": jnp.ones(1), "head": jnp.ones(1)}
    >>> step, _ = optimizer.update(params, optimizer.init(params), params)
    >>> float(step["body"][0]), float(step["head"][0])
    (-0.5, -1.0)
    """
    check_optimizer(optimizer)
    check_callable(chosen, "chosen")
    if not number(factor, "factor") >= 0:
        raise ValueError(f"factor must be 0 or more, got {factor}; usual values are 0.01 to 1.")

    def scale(updates: Any, params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, update: factor * update if chosen(path) else update, updates
        )

    return optax.chain(optimizer, optax.stateless(scale))


def check_optimizer(optimizer: Any) -> None:
    """Refuse everything but an optax optimiser."""
    if not all(callable(getattr(optimizer, name, None)) for name in ("init", "update")):
        raise TypeError(f"optimizer must be an optax optimiser, got {shown(optimizer)}.")


def _check(learning_rate: optax.ScalarOrSchedule, weight_decay: float, mask: Mask) -> None:
    check_callable(mask, "mask")
    if not callable(learning_rate) and not isinstance(learning_rate, jax.Array):
        number(learning_rate, "learning_rate")
    if not number(weight_decay, "weight_decay") >= 0:
        raise ValueError(f"weight_decay must be 0 or more, got {weight_decay}.")


def _checked(peak: float, total_steps: int) -> tuple[float, int]:
    peak = number(peak, "learning_rate, the peak,")
    if not peak > 0:
        raise ValueError(f"learning_rate must be positive, got {peak}; try 0.01.")
    return peak, integer(total_steps, "total_steps", minimum=1, maximum=LONGEST)
