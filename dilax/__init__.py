"""Convolution with holes, done properly in JAX.

Pure functions over arrays that are channels-last, ``(batch..., *window, features)``, with kernels
``(*window, in_features // groups, out_features)``:

>>> import dilax, jax.numpy as jnp
>>> x = jnp.ones((8, 28, 28, 16))
>>> dilax.conv(x, jnp.ones((3, 3, 16, 24)), kernel_dilation=2).shape
(8, 28, 28, 24)

`accelerate` gives them to any JAX program, whatever library wrote it.

Around them: `dilax.geometry` (the integers), `dilax.lowerings` (the same convolution computed in
different ways), `dilax.rewriting` (other people's programs), `dilax.nn` (Flax NNX modules),
`dilax.cures` (against gridding), `dilax.models`, `dilax.data`, `dilax.training` and
`dilax.analysis`; the last six are imported when they are first used.
"""

import importlib
from types import ModuleType

from dilax import geometry, lowerings, ops, rewriting
from dilax._version import __version__
from dilax.ops import (
    BatchNormParams,
    DilatedBlockParams,
    SeparableBlockParams,
    avg_pool,
    batch_norm,
    conv,
    conv_general_dilated,
    depthwise_conv,
    dilated_block,
    max_pool,
    pointwise_conv,
    separable_block,
    separable_conv,
)
from dilax.rewriting import accelerate, explain

__all__ = [
    "__version__",
    # convolution
    "conv",
    "depthwise_conv",
    "pointwise_conv",
    "separable_conv",
    # lax's own signature
    "conv_general_dilated",
    # pooling
    "avg_pool",
    "max_pool",
    # blocks
    "BatchNormParams",
    "DilatedBlockParams",
    "SeparableBlockParams",
    "batch_norm",
    "dilated_block",
    "separable_block",
    # any JAX program
    "accelerate",
    "explain",
    # rooms
    "geometry",
    "lowerings",
    "ops",
    "rewriting",
]

_LAZY_ROOMS = ("analysis", "cures", "data", "models", "nn", "training")


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY_ROOMS:
        return importlib.import_module(f"dilax.{name}")
    raise AttributeError(f"module 'dilax' has no attribute {name!r}")
