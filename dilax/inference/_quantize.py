"""ONNX files of 8-bit integers, made by ONNX Runtime's own quantiser."""

from __future__ import annotations

import collections
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dilax._atomic import write_bytes
from dilax._checks import shown
from dilax.inference._sealed import ExportError, reason

RECTIFIERS = ("Relu", "Clip")
MOVES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten")
"""Operations that only move entries, and so share the scale of what they move."""
RANGED = ("Conv", "Gemm", "MatMul", "Add", "Mul")
"""Operations whose results are quantised with a scale of their own."""


def quantize(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    batches: Iterable[np.ndarray],
) -> None:
    """Convert an ONNX file of ``export`` to 8-bit integers.

    Weights and activations become integers of 8 bits, each with a scale: weights one for each
    out-feature, activations one for each array, chosen so that what ``batches`` give fits. Weights
    take a quarter of the space; they use 7 of their bits, for processors that add up products in 16
    bits. Which file is faster depends on the processor and on the sizes of the convolutions:
    measure both, and measure accuracy on images that were not among ``batches``.

    Args:
        source: The file, with one argument.
        target: The file to write; an existing one is replaced.
        batches: Inputs like those that the function will be called with, such as a few hundred
            training images in batches.

    Raises:
        ExportError: A library is missing, or the quantiser refuses the file or the batches.
        FileNotFoundError: There is no such file.
        ValueError: There is no batch.

    Source: B. Jacob et al., "Quantization and training of neural networks for efficient
    integer-arithmetic-only inference", 2018.
    """
    try:
        import onnx
        import onnxruntime
        from onnxruntime import quantization
    except ImportError as error:
        raise ExportError(
            f'{error}; onnx and onnxruntime must be installed: pip install "dilax-jax[interop]".'
        ) from error
    source, target = Path(source), Path(target)
    if target.suffix != ".onnx":
        raise ExportError(f"target must end in .onnx, got {target.name!r}.")
    if not source.is_file():
        raise FileNotFoundError(f"source must be a file, got {source}.")
    given = iter(batches)
    if (first := next(given, None)) is None:
        raise ValueError("batches must hold at least one array, got none.")
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        (argument,) = onnxruntime.InferenceSession(str(source), options).get_inputs()
        with tempfile.TemporaryDirectory() as folder:
            prepared, written = Path(folder) / "prepared.onnx", Path(folder) / "written.onnx"
            quantization.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            model = _rectified_first(_with_vectors(onnx.load(str(prepared))))
            onnx.save(model, str(prepared))
            quantization.quantize_static(
                str(prepared),
                str(written),
                _reader(argument.name, first, given),
                quant_format=quantization.QuantFormat.QOperator,
                nodes_to_exclude=_kept_rectifiers(model),
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                reduce_range=True,  # sums of two products of 8 bits overflow on older processors
            )
            onnx.checker.check_model(str(written))
            content = written.read_bytes()
    except Exception as error:
        raise ExportError(f"{shown(str(source))} cannot be quantised: {reason(error)}") from error
    write_bytes(target, content)


def _with_vectors(model: Any) -> Any:
    """Give the biases of products the shape ``(O,)`` for ``(1, O)``, as the quantiser expects."""
    products = [node for node in model.graph.node if node.op_type == "Gemm"]
    biases = {name for node in products for name in node.input[2:]}
    for array in model.graph.initializer:
        if array.name in biases and len(array.dims) == 2 and array.dims[0] == 1:
            del array.dims[0]
    return model


def _rectified_first(model: Any) -> Any:
    """Rectify before a transposition or a reshape instead of after it, which gives the same."""
    graph, readers = model.graph, _readers(model)
    nodes, stale = list(graph.node), set()
    makers = {name: place for place, node in enumerate(nodes) for name in node.output}
    for node in nodes[:]:
        while node.op_type in RECTIFIERS and readers[between := node.input[0]] == 1:
            before, place = makers.get(between), makers[node.output[0]]
            if before is None or nodes[before].op_type not in MOVES:
                break
            move, result = nodes[before], node.output[0]
            node.input[0], node.output[0] = move.input[0], between
            move.input[0], move.output[0] = between, result
            nodes[before], nodes[place] = node, move
            makers |= {between: before, result: place}
            stale.add(between)
    shapes = [one for one in graph.value_info if one.name not in stale]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.value_info.extend(shapes)
    return model


def _kept_rectifiers(model: Any) -> list[str]:
    """Return the names of rectifiers that the quantiser must not drop.

    It drops all, and relies on what is before them to give no number below their smallest one. That
    is so if an operation with a range of its own is before them, whose result nothing else reads.
    """
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    readers = _readers(model)
    return [
        node.name
        for node in model.graph.node
        if node.op_type in RECTIFIERS
        and (makers.get(node.input[0]) not in RANGED or readers[node.input[0]] > 1)
    ]


def _readers(model: Any) -> collections.Counter[str]:
    """Count how many read each array, of the nodes and of those who call the model."""
    names = [name for node in model.graph.node for name in node.input]
    return collections.Counter(names + [output.name for output in model.graph.output])


def _reader(name: str, first: np.ndarray, rest: Iterator[np.ndarray]) -> Any:
    """Make what the quantiser reads batches from."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.waiting: np.ndarray | None = first

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch, self.waiting = self.waiting, next(rest, None)
            return None if batch is None else {name: np.asarray(batch)}

    return Reader()
