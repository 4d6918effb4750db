"""Algorithms: different ways to compute a convolution, with equal results up to rounding.

``lax`` is one call of ``lax.conv_general_dilated``. To use an algorithm for a call and all its
derivatives, pass it: ``dilax.conv(..., algorithm=dilax.algorithms.shift_and_add)``. Without this
argument, algorithms are chosen by platform, pass and shape.

>>> import dilax
>>> dilax.algorithms.shift_and_add
dilax.algorithms.shift_and_add
"""

from dilax.algorithms._algorithm import Algorithm
from dilax.algorithms._im2col import im2col
from dilax.algorithms._lax import lax
from dilax.algorithms._pad_first import pad_first
from dilax.algorithms._per_group import per_group
from dilax.algorithms._per_plane import per_plane
from dilax.algorithms._shift_and_add import shift_and_add
from dilax.algorithms._space_to_batch import space_to_batch

__all__ = [
    # what an algorithm is
    "Algorithm",
    # the algorithms
    "im2col",
    "lax",
    "pad_first",
    "per_group",
    "per_plane",
    "shift_and_add",
    "space_to_batch",
]
