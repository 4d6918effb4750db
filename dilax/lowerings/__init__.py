"""The same convolution, computed in different ways; one file each, one signature.

`direct` is the definition, one call of lax; the others are proven equal to it. Pass one by value,
``dilax.conv(..., lowering=dilax.lowerings.taps)``, to use it for a call and all its derivatives;
left out, a short table chooses by platform, pass and shape.

>>> import dilax
>>> dilax.lowerings.taps
dilax.lowerings.taps
"""

from dilax.lowerings._dense import dense
from dilax.lowerings._direct import direct
from dilax.lowerings._lowering import Lowering
from dilax.lowerings._patches import patches
from dilax.lowerings._taps import taps

__all__ = [
    # what a lowering is
    "Lowering",
    # the lowerings
    "dense",
    "direct",
    "patches",
    "taps",
]
