"""A barrier that stops XLA on CPU from fusing an expression into the operations that read it.

XLA on CPU hands a reduction to a library together with the multiplications and additions before it.
If those are a convolution written as shifted slices, every slice is then written to memory
separately, and a layer normalisation or a mean over the image takes many times as long as the
convolution before it. XLA fuses nothing across the edge of a conditional branch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from dilax.algorithms._vma import vary, varying_axes


def fusion_barrier(
    compute: Callable[[], jax.Array], shape: tuple[int, ...], dtype: Any, operand: jax.Array
) -> jax.Array:
    """Run ``compute()``; on CPU, inside a conditional branch that is always taken.

    An optimisation barrier hides from XLA on CPU that the other branch is never taken. On other
    platforms the condition is a constant, and XLA removes the branch. (A barrier around the result
    itself would have no effect, because XLA removes it before fusion.) The result has ``shape`` and
    ``dtype``, and varies over the mesh axes that ``operand`` varies over.

    The other branch reads nothing, so that XLA may move into the first one what only it reads. (A
    branch that returned ``operand`` was measured: it compiles no sooner in a network, and the
    gradient of an average pool takes 10 to 30% longer.)
    """
    never = lax.platform_dependent(cpu=lambda: lax.optimization_barrier(_false()), default=_false)
    return lax.cond(never, lambda: _stand_in(compute, shape, dtype, operand), compute)


def _stand_in(
    compute: Callable[[], jax.Array], shape: tuple[int, ...], dtype: Any, operand: jax.Array
) -> jax.Array:
    """Return an array of the result's type."""
    if any(jax.typeof(operand).sharding.spec):
        sharding = jax.typeof(jax.eval_shape(compute)).sharding
        return jnp.zeros(shape, dtype, device=sharding)
    return vary(jnp.zeros(shape, dtype), varying_axes(operand))


def _false() -> jax.Array:
    return jnp.array(False)
