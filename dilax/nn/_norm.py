"""Batch normalisation as a module."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from dilax._arrays import as_array, common_type
from dilax._functions import batch_norm
from dilax.nn._flax import nnx
from dilax.nn._module import norm_variables, read_norm
from dilax.nn._pickling import Picklable


class BatchNorm(Picklable, nnx.BatchNorm):
    """``nnx.BatchNorm``, with the same arguments and results, and a faster derivative.

    It normalises by ``dilax.batch_norm``, with one difference: a ``mask`` under ``axis_name`` gives
    the statistics of all entries that count, on all devices. What that function does not have
    (another ``axis``, no scale or no bias, ``dtype``, ``axis_index_groups``, complex numbers,
    ``use_fast_variance=False``) is computed as Flax does.

    >>> norm = BatchNorm(4, rngs=nnx.Rngs(0))
    >>> norm(jnp.ones((2, 8, 4))).shape
    (2, 8, 4)
    """

    def __call__(
        self,
        x: ArrayLike,
        use_running_average: bool | None = None,
        *,
        mask: ArrayLike | None = None,
    ) -> jax.Array:
        """Normalise ``x``, and update the running statistics unless they are used.

        Args:
            x: ``(..., features)``.
            use_running_average: In place of the attribute of that name.
            mask: As in ``dilax.batch_norm``.

        Raises:
            ValueError: The features or the mask do not fit, ``axis_name`` is not mapped, or
                ``use_running_average`` is given nowhere.
        """
        x = as_array(x, "x")
        mask = None if mask is None else as_array(mask, "mask")
        frozen = self.use_running_average if use_running_average is None else use_running_average
        if frozen is None or not self._is_plain(x):
            return super().__call__(x, use_running_average, mask=mask)
        variables = norm_variables(self)
        params = read_norm(variables)
        y, moved = batch_norm(
            x.astype(common_type(x, *params)),
            params,
            use_running_average=frozen,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=self.axis_name,
            mask=mask,
        )
        if not frozen:
            variables.mean[...], variables.var[...] = moved.mean, moved.var
        return y

    def _is_plain(self, x: jax.Array) -> bool:
        """Whether ``dilax.batch_norm`` has all that is asked for."""
        return (
            self.use_scale
            and self.use_bias
            and self.axis in (-1, x.ndim - 1)
            and self.dtype is None
            and self.axis_index_groups is None
            and self.use_fast_variance
            and jnp.issubdtype(x.dtype, jnp.floating)
        )
