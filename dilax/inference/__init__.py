"""Functions with constant weights: folded into fewer operations, and written to files.

``fold`` moves batch normalisation, and other constant scales and shifts of features, into the
convolutions and products before them. ``export`` writes a function as StableHLO or ONNX.
"""

from dilax.inference._export import ExportError, export, load_exported
from dilax.inference._fold import fold

__all__ = [
    # a faster function
    "fold",
    # a function in a file
    "export",
    "load_exported",
    "ExportError",
]
