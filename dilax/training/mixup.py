"""Pairs of examples blended: each image with its neighbour, and its loss with the other label."""

import jax
import jax.numpy as jnp
from jax import Array

from dilax._checks import number, shown

LEAST, MOST = 1e-20, 1e20
"""The ``alpha`` beyond which float32 shares change no more: all 0 or 1, and all a half."""


def draw_shares(keys: Array, *, alpha: float) -> Array:
    r"""Draw how much of itself each example keeps: two neighbours the same.

    .. math:: \lambda \sim \operatorname{Beta}(\alpha, \alpha)

    Args:
        keys: `(N,)` PRNG keys, of examples 0 and 1, 2 and 3, ...; the first of a pair draws.
        alpha: :math:`\alpha`; 0.2 blends few pairs much, 1 is uniform.

    Returns:
        `(N,)` float32 in [0, 1].

    Raises:
        ValueError: there is an odd number of examples, or `alpha` is not positive.

    Source: H. Zhang et al., "mixup: beyond empirical risk minimization", 2018.

    >>> shares = draw_shares(jax.random.split(jax.random.key(0), 4), alpha=1.0)
    >>> bool((shares[::2] == shares[1::2]).all())
    True
    """
    check_alpha(alpha)
    dtype, shape = getattr(keys, "dtype", None), tuple(getattr(keys, "shape", ()))
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(f"keys must be an array of jax.random.key, received {shown(keys)}")
    if len(shape) != 1 or shape[0] % 2:
        raise ValueError(
            f"keys must be (N,) of an even N, received {shape}; mixup takes images in pairs, so "
            "the batch on each device, and each accumulated part of it, must be even"
        )
    within = min(max(float(alpha), LEAST), MOST)
    drawn = jax.vmap(lambda key: jax.random.beta(key, within, within))(keys[::2])
    return jnp.repeat(drawn.astype(jnp.float32), 2)


def swap(array: Array) -> Array:
    """Give each example the place of its neighbour.

    >>> swap(jnp.array([1, 2, 3, 4])).tolist()
    [2, 1, 4, 3]
    """
    return array.reshape(-1, 2, *array.shape[1:])[:, ::-1].reshape(array.shape)


def blend(array: Array, other: Array, shares: Array) -> Array:
    r"""Mix two arrays, example by example: :math:`\lambda a + (1 - \lambda) b`.

    >>> blend(jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0]), jnp.array([1.0, 0.5])).tolist()
    [1.0, 3.0]
    """
    shares = shares.reshape(-1, *[1] * (array.ndim - 1)).astype(array.dtype)
    return shares * array + (1 - shares) * other


def check_alpha(alpha: float) -> None:
    """Refuse what is no parameter of a beta distribution."""
    if not number(alpha, "mixup, alpha,") > 0:
        raise ValueError(f"mixup, alpha, must be positive, received {alpha}; usual are 0.1 to 1")
