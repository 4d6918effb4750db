"""Fast dilated, depthwise and separable convolution for JAX.

The functions are pure. Arrays are channels-last, ``(batch..., *window, features)``, and kernels are
``(*window, in_features // groups, out_features)``:

>>> import dilax, jax.numpy as jnp
>>> x = jnp.ones((8, 28, 28, 16))
>>> dilax.conv(x, jnp.ones((3, 3, 16, 24)), kernel_dilation=2).shape
(8, 28, 28, 24)

``accelerate`` replaces the convolutions of any JAX function by those of dilax.

The packages are ``dilax.geometry`` (sizes and padding), ``dilax.algorithms`` (ways to compute a
convolution), ``dilax.degridding`` (remedies for gridding), ``dilax.analysis`` (receptive field and
cost), ``dilax.inference`` (folding and export), ``dilax.nn`` (Flax NNX modules),
``dilax.models``, ``dilax.data`` and ``dilax.training``. All but the first two are imported when
they are first used, so that ``import dilax`` needs only JAX and NumPy.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from dilax import algorithms, geometry
from dilax._accelerate import Explanation, Finding, accelerate, explain
from dilax._functions import (
    Activation,
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
    using,
)
from dilax._version import __version__

if TYPE_CHECKING:
    from dilax import analysis as analysis
    from dilax import data as data
    from dilax import degridding as degridding
    from dilax import inference as inference
    from dilax import models as models
    from dilax import nn as nn
    from dilax import training as training

__all__ = [
    "__version__",
    # convolution
    "conv",
    "depthwise_conv",
    "pointwise_conv",
    "separable_conv",
    # drop-in for lax
    "conv_general_dilated",
    # pooling
    "avg_pool",
    "max_pool",
    # blocks
    "Activation",
    "BatchNormParams",
    "DilatedBlockParams",
    "SeparableBlockParams",
    "batch_norm",
    "dilated_block",
    "separable_block",
    # the algorithm of all of them
    "using",
    # transformations
    "Explanation",
    "Finding",
    "accelerate",
    "explain",
    # packages
    "algorithms",
    "geometry",
]

_IMPORTED_WHEN_USED = ("analysis", "data", "degridding", "inference", "models", "nn", "training")


if not TYPE_CHECKING:  # a type checker would take any unknown name for a module

    def __getattr__(name: str) -> ModuleType:
        if name in _IMPORTED_WHEN_USED:
            return importlib.import_module(f"dilax.{name}")
        raise AttributeError(f"module 'dilax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *_IMPORTED_WHEN_USED]
