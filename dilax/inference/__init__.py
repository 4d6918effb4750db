"""Functions with constant weights: folded into fewer operations, and written to files.

``fold`` moves batch normalisation, and other constant scales and shifts of features, into the
convolutions and products before them. ``compile`` compiles a function for one shape in the way that
is fastest on this machine. ``export`` writes a function as StableHLO or ONNX, and ``quantize``
converts ONNX to 8-bit integers. ``stream`` turns a function of a whole signal into a step for each
chunk of it.
"""

from dilax.inference._compile import Compiled, compile, load_compiled
from dilax.inference._export import export, load_exported
from dilax.inference._fold import fold
from dilax.inference._quantize import quantize
from dilax.inference._sealed import ExportError
from dilax.inference._stream import Stream, StreamOutput, stream

__all__ = [
    # a faster function
    "fold",
    "compile",
    "load_compiled",
    "Compiled",
    # a function of a signal, as it arrives
    "stream",
    "Stream",
    "StreamOutput",
    # a function in a file
    "export",
    "load_exported",
    "quantize",
    "ExportError",
]
