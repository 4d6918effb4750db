"""Normalisation of features as blocks hold it: parameters and running statistics."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import DTypeLike

from dilax._functions import BatchNormParams
from dilax.nn._flax import nnx


class Norm(nnx.Module):
    """What `dilax.batch_norm` needs, read before a call and written after it."""

    def __init__(self, features: int, param_dtype: DTypeLike = jnp.float32) -> None:
        self.scale = nnx.Param(jnp.ones(features, param_dtype))
        self.bias = nnx.Param(jnp.zeros(features, param_dtype))
        self.mean = nnx.BatchStat(jnp.zeros(features, jnp.float32))
        self.var = nnx.BatchStat(jnp.ones(features, jnp.float32))

    def read(self) -> BatchNormParams:
        """All four, as they are."""
        return BatchNormParams(self.scale[...], self.bias[...], self.mean[...], self.var[...])

    def write(self, params: BatchNormParams) -> None:
        """Keep the statistics that a batch moved."""
        self.mean[...], self.var[...] = params.mean, params.var
