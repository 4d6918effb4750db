"""Magnitude pruning as an optimiser: the smallest entries of kernels become zero, step by step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dilax._checks import LONGEST, check_callable, integer, number
from dilax.training._optimizers import Mask, check_optimizer, mixes_features


class SparseState(NamedTuple):
    """The state of an optimiser that ``sparse`` made."""

    inner: optax.OptState
    """The state of the optimiser inside."""
    step: jax.Array
    """The number of steps that were taken."""
    kept: Any
    """Which entries are not pruned: an array of booleans for each parameter, or one for all."""


def sparse(
    optimizer: optax.GradientTransformation,
    *,
    sparsity: float,
    begin: int,
    end: int,
    every: int = 100,
    mask: Mask = mixes_features,
) -> optax.GradientTransformation:
    """Set the smallest entries of each kernel to zero, more and more of them as training goes on.

    At step ``t``, from ``begin`` to ``end``, this share of the entries of each kernel is zero::

        share(t) = sparsity * (1 - (1 - (t - begin) / (end - begin))^3)

    and after ``end`` it is ``sparsity``. Every ``every`` steps, the entries of smallest magnitude
    are chosen anew. Pruned entries are exactly zero after each step. A network with zeros
    compresses better, but runs no faster, because its products stay dense; ``dilax.models.prune``
    makes a network faster. A moving average of the weights has no zeros.

    Args:
        optimizer: The optimiser of all parameters.
        sparsity: Share of zeros in the end, from 0 to below 1.
        begin: First step that prunes.
        end: Step from which on the share stays.
        every: Steps from one choice of entries to the next.
        mask: Selects the arrays that are pruned; by default kernels except depthwise ones, which
            have few entries.

    Raises:
        ValueError: A number is out of range.
        TypeError: ``optimizer`` is not an optax optimiser, ``mask`` not a function, or a number
            is none.

    Source: M. Zhu and S. Gupta, "To prune, or not to prune", 2017, section 3.

    >>> kernel = jnp.array([[1.0, -4.0], [-2.0, 3.0]])
    >>> optimizer = sparse(optax.sgd(0.0), sparsity=0.5, begin=0, end=1)
    >>> step, _ = optimizer.update(kernel, optimizer.init(kernel), kernel)
    >>> optax.apply_updates(kernel, step).tolist()
    [[0.0, -4.0], [0.0, 3.0]]
    """
    check_optimizer(optimizer)
    check_callable(mask, "mask")
    if not 0 <= number(sparsity, "sparsity") < 1:
        raise ValueError(f"sparsity must be at least 0 and below 1, got {sparsity}.")
    begin = integer(begin, "begin", minimum=0, maximum=LONGEST)
    end = integer(end, "end", minimum=begin + 1, maximum=LONGEST)
    every = integer(every, "every", minimum=1, maximum=LONGEST)

    def init(params: Any) -> SparseState:
        def whole(pruned: bool, array: jax.Array) -> jax.Array:
            return jnp.ones(array.shape if pruned else (), bool)

        kept = jax.tree.map(whole, mask(params), params)
        return SparseState(optimizer.init(params), jnp.int32(0), kept)

    def update(gradients: Any, state: SparseState, params: Any = None) -> tuple[Any, SparseState]:
        if params is None:
            raise ValueError("params must be given to update, which prunes them, got None.")
        steps, inner = optimizer.update(gradients, state.inner, params)
        step = state.step + 1
        done = jnp.clip((step - begin) / (end - begin), 0, 1)
        share = sparsity * (1 - (1 - done) ** 3)
        due = (step >= begin) & ((step % every == 0) | (step == end)) & (step <= end)
        kept = jax.lax.cond(
            due,
            lambda: jax.tree.map(
                lambda old, array, change: _largest(array + change, share) if old.ndim else old,
                *(state.kept, params, steps),
            ),
            lambda: state.kept,
        )
        zeroed = jax.tree.map(
            lambda keep, change, array: jnp.where(keep, change, -array), kept, steps, params
        )
        return zeroed, SparseState(inner, step, kept)

    return optax.GradientTransformation(init, update)


def _largest(array: jax.Array, share: jax.Array) -> jax.Array:
    """Mark all entries but the ``share`` of them with the smallest magnitudes."""
    ranks = jnp.argsort(jnp.argsort(jnp.abs(array).reshape(-1)))
    return (ranks >= jnp.round(share * array.size)).reshape(array.shape)
