"""How gradients become steps: optimisers, each with its source, and which arrays they decay."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from optax import contrib

from dilax._arrays import as_array
from dilax._checks import check_callable, number, shown

SECOND_MOMENT_DECAY = 0.99
"""AdamW's second beta: small networks at high rates learn faster than 0.999 remembers."""
MOMENTUM = 0.9
"""Share of its speed that stochastic gradient descent keeps."""
ROOT_MEAN_SQUARE = 0.2
"""Size of Muon's steps at learning rate 1, which is about that of AdamW's."""


Mask = Callable[[Any], Any]
"""`params -> booleans`, for each array whether it decays."""


def is_kernel(params: Any) -> Any:
    """Say of each array of a pytree whether it is a kernel: two axes or more."""
    return jax.tree.map(lambda array: as_array(array, "each of params").ndim > 1, params)


def mixes_features(params: Any) -> Any:
    """Say of each array whether it is a kernel of more than one feature a group.

    A depthwise kernel is none. A. Howard et al., "MobileNets", 2017, section 3.2, decay it little
    or not at all, for it has so few parameters.
    """
    return jax.tree.map(
        lambda array: as_array(array, "each of params").ndim > 1 and array.shape[-2] > 1, params
    )


def everything(params: Any) -> Any:
    """Say of each array that it is one."""
    return jax.tree.map(lambda _: True, params)


def adamw(
    learning_rate: optax.ScalarOrSchedule, *, weight_decay: float, mask: Mask = is_kernel
) -> optax.GradientTransformation:
    """AdamW that decays kernels only.

    Biases, scales and other vectors are left out: pulling them to zero regularises nothing.

    Args:
        learning_rate: a number or a schedule.
        weight_decay: share of an array that a step at learning rate 1 takes away.
        mask: which arrays decay.

    Raises:
        ValueError: `weight_decay` is negative or not finite.
        TypeError: it is no number, `learning_rate` neither a number nor a schedule, or `mask` no
            function.

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
    """Stochastic gradient descent with Nesterov momentum; kernels have a quadratic penalty.

    The penalty `weight_decay / 2 * sum(kernel**2)` is part of the gradient, so that it takes part
    in the momentum and is scaled by the learning rate. Arguments and errors are those of `adamw`.

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
    """Muon for kernels that mix features, AdamW for the rest; kernels decay.

    The momentum of a kernel `(*window, in, out)`, as a matrix of `out` columns, is replaced by the
    nearest matrix with orthogonal rows or columns. A depthwise kernel mixes nothing and is left to
    AdamW. Steps are scaled to AdamW's size, so that one learning rate serves both. Arguments and
    errors are those of `adamw`.

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the
    scale is that of J. Liu et al., "Muon is scalable for LLM training", 2025.

    >>> import jax.numpy as jnp
    >>> optimizer = muon(1.0, weight_decay=0.0)
    >>> kernel = jnp.eye(2)
    >>> step, _ = optimizer.update(3 * kernel, optimizer.init(kernel), kernel)
    >>> bool((step == -step[0, 0] * -kernel).all())  # of equal length in all directions
    True
    """
    others = adamw(learning_rate, weight_decay=weight_decay, mask=mask)
    mixing = contrib.muon(
        learning_rate,
        weight_decay=weight_decay,
        weight_decay_mask=mask,
        muon_weight_dimension_numbers=_as_matrices,
        consistent_rms=ROOT_MEAN_SQUARE,
    )
    return optax.multi_transform({"mixing": mixing, "other": others}, _mixing_or_other)


def clipped(
    optimizer: optax.GradientTransformation, *, norm: float
) -> optax.GradientTransformation:
    """Shorten gradients, all parameters as one vector, to `norm` before `optimizer` sees them.

    Raises:
        ValueError: `norm` is not positive and finite.

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
        raise ValueError(f"norm must be positive, received {norm}; usual values are 0.1 to 10")
    return optax.chain(optax.clip_by_global_norm(norm), optimizer)


def except_frozen(
    optimizer: optax.GradientTransformation, frozen: Callable[[tuple[Any, ...]], bool]
) -> optax.GradientTransformation:
    """Leave some parameters as they are, decay included.

    Args:
        optimizer: what moves the others.
        frozen: whether a parameter is one, by its path in the keys of `jax.tree_util`.

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


def check_optimizer(optimizer: Any) -> None:
    """Refuse what is no optax transformation."""
    if not all(callable(getattr(optimizer, name, None)) for name in ("init", "update")):
        raise TypeError(f"optimizer must be an optax transformation, received {shown(optimizer)}")


def _mixing_or_other(params: Any) -> Any:
    """Say of each array which part of Muon moves it."""
    return jax.tree.map(lambda mixes: "mixing" if mixes else "other", mixes_features(params))


def _as_matrices(params: Any) -> Any:
    """How Muon is to read kernels `(*window, in, out)`."""

    def matrix(array: jax.Array) -> contrib.MuonDimensionNumbers:
        *inside, outside = range(array.ndim)
        return contrib.MuonDimensionNumbers(tuple(inside), (outside,))

    return jax.tree.map(matrix, params)


def _check(learning_rate: optax.ScalarOrSchedule, weight_decay: float, mask: Mask) -> None:
    check_callable(mask, "mask")
    if not callable(learning_rate) and not isinstance(learning_rate, jax.Array):
        number(learning_rate, "learning_rate")
    if not number(weight_decay, "weight_decay") >= 0:
        raise ValueError(f"weight_decay must not be negative, received {weight_decay}")
