"""Mixed precision: what a network computes in, while its parameters stay in float32."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from dilax._arrays import as_dtype
from dilax._checks import check_callable
from dilax.training.functional import Apply

Pytree = Any

LOSS_SCALES = {"float32": 1.0, "bfloat16": 1.0, "float16": 1024.0}
"""What the loss is multiplied by before the gradient is taken, and the gradient divided by after:
gradients of activations fall below float16's least number, 6e-8."""


def compute_in(dtype: DTypeLike, apply: Apply) -> Apply:
    """Make a network compute in `dtype`, with float32 parameters, statistics and logits.

    Raises:
        TypeError: `dtype` is no type of floats, or `apply` no function.

    Source: Micikevicius et al., "Mixed precision training", 2018.

    >>> def double(params, batch_stats, images, *, train, key=None):
    ...     return images * params["two"], batch_stats
    >>> half = compute_in(jnp.bfloat16, double)
    >>> half({"two": jnp.float32(2)}, {}, jnp.float32(1.001), train=False)[0].item()
    2.0
    """
    dtype = as_dtype(dtype, "dtype")
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"dtype must be a type of floats, received {dtype}")
    check_callable(apply, "apply")

    def cast(leaf: Array) -> Array:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    def applied(
        params: Pytree, batch_stats: Pytree, images: Array, /, **options: Any
    ) -> tuple[Array, Pytree]:
        logits, moved = apply(jax.tree.map(cast, params), batch_stats, cast(images), **options)
        kept = jax.tree.map(lambda new, old: new.astype(old.dtype), moved, batch_stats)
        return logits.astype(jnp.float32), kept

    return applied
