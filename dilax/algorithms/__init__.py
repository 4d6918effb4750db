"""Ways to compute one and the same convolution; one file each, one signature.

``lax`` is the definition, one call of ``lax.conv_general_dilated``; the others are tested to give
equal results. Pass one by value, ``dilax.conv(..., algorithm=dilax.algorithms.shift_and_add)``, to
use it for a call and all its derivatives; left out, it is chosen by platform, pass and shape.

>>> import dilax
>>> dilax.algorithms.shift_and_add
dilax.algorithms.shift_and_add
"""

from dilax.algorithms._algorithm import Algorithm
from dilax.algorithms._im2col import im2col
from dilax.algorithms._lax import lax
from dilax.algorithms._per_group import per_group
from dilax.algorithms._per_plane import per_plane
from dilax.algorithms._shift_and_add import shift_and_add

__all__ = [
    # what an algorithm is
    "Algorithm",
    # the algorithms
    "im2col",
    "lax",
    "per_group",
    "per_plane",
    "shift_and_add",
]
