"""Functions with their weights in a file: StableHLO for JAX, ONNX for everything else."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
from jax.extend.core import JaxprEqn
from jax.typing import DTypeLike

from dilax import algorithms
from dilax._accelerate.internals import run_equation
from dilax._arrays import as_dtype
from dilax._atomic import write_bytes
from dilax._checks import check_callable, entries, integer, shown
from dilax._functions.using import using
from dilax.inference._fold import fold, rewritten
from dilax.inference._sealed import ExportError, reason, seal, unseal

_POOLS = ("reduce_window_max", "reduce_window_sum")
STABLEHLO, ONNX = ".stablehlo", ".onnx"
PLATFORMS = ("cpu", "cuda", "tpu")
NAMED = "give a number, or a constraint such as 'height >= 8'."
RESERVED = ("max", "min", "mod", "floordiv")
"""Operators in symbolic sizes, so no names."""
Size = int | str
"""The size of an axis, or a name for one that is not fixed."""


def export(
    function: Callable[..., Any],
    path: str | os.PathLike[str],
    *shapes: Sequence[Size],
    dtype: DTypeLike = jnp.float32,
    constraints: Sequence[str] = (),
    platforms: Sequence[str] = PLATFORMS,
) -> None:
    """Write a function with its weights to a file, which runs without dilax.

    The weights are what ``function`` closes over, and are folded as by ``fold``. The suffix of the
    file says how it is written:

    - ``.stablehlo``: for ``jax.export.deserialize``, which needs JAX and flatbuffers alone, or
      ``load_exported``, which also checks the file. On CPUs it computes as dilax does.
    - ``.onnx``: for ONNX Runtime and others, by jax2onnx, which must be installed. A convolution
      becomes one ``Conv`` node, with its groups and dilations. Layers of Flax that jax2onnx knows
      keep nodes of their own.

    Args:
        function: A function of arrays that returns one array or several.
        path: The file; an existing one is replaced.
        *shapes: The shape of each argument. A size may be a name such as ``"batch"``: it then is
            not fixed, and equal names are equal sizes.
        dtype: The type of the arguments.
        constraints: For StableHLO, what is known of the named sizes, such as ``"height >= 8"``. A
            network with pools may need to know that its image is not too small.
        platforms: For StableHLO, where it may run.

    Raises:
        ExportError: The suffix is another one, jax2onnx is missing, or an operation of ``function``
            cannot be exported.
        ValueError: A size is not positive, or a name is no identifier.
        TypeError: An argument has another type.
        OSError: The file cannot be written.

    >>> import tempfile
    >>> import numpy as np
    >>> kernel = np.ones((3, 3, 4, 8), np.float32)
    >>> import dilax
    >>> path = Path(tempfile.mkdtemp()) / "layer.stablehlo"
    >>> export(lambda x: dilax.conv(x, kernel), path, ("batch", 16, 16, 4))
    >>> load_exported(path)(np.ones((2, 16, 16, 4), np.float32)).shape
    (2, 16, 16, 8)
    """
    check_callable(function, "function")
    sizes = [_sizes(shape) for shape in shapes]
    if not sizes:
        raise ValueError("shapes must have the shape of each argument, got none.")
    path, kind = Path(path), as_dtype(dtype, "dtype")
    limits = entries(constraints, "constraints", "texts such as 'height >= 8'")
    places = entries(platforms, "platforms", "names of platforms")
    if path.suffix not in (STABLEHLO, ONNX):
        raise ExportError(f"path must end in {STABLEHLO} or {ONNX}, got {path.name!r}.")
    try:
        if path.suffix == ONNX:
            content = _onnx(function, [jax.ShapeDtypeStruct(shape, kind) for shape in sizes])
        else:
            content = _stablehlo(function, _symbolic(sizes, kind, limits), places)
    except ExportError:
        raise
    except ImportError as error:
        raise ExportError(f"{path.suffix} files need a library: {error}.") from error
    except Exception as error:
        named = any(isinstance(size, str) for shape in sizes for size in shape)
        raise ExportError(
            f"function cannot be exported as {path.suffix}: {reason(error)}"
            + (f"; if a named size is the reason, {NAMED}" if named else "")
        ) from error
    write_bytes(path, content)


def load_exported(path: str | os.PathLike[str]) -> Callable[..., Any]:
    """Read a function that ``export`` wrote as StableHLO, after checking the file.

    The check finds damage, not intent: a program may call whatever is registered with XLA, so load
    only files whose origin you trust.

    Returns:
        The function of arrays, which can be used under ``jax.jit``.

    Raises:
        FileNotFoundError: There is no such file.
        ExportError: The file is damaged, or was not written by ``export``.
    """
    program, _ = unseal(path)
    return jax.export.deserialize(bytearray(program)).call


def _sizes(shape: Sequence[Size]) -> tuple[Size, ...]:
    """Check the sizes and names of one shape."""
    sizes = entries(shape, "each of shapes", "sizes and names")
    for size in sizes:
        if isinstance(size, str) and (not size.isidentifier() or size in RESERVED):
            raise ValueError(
                f"each name in shapes must be an identifier other than {', '.join(RESERVED)}, got "
                f"{shown(size)}."
            )
    return tuple(
        size if isinstance(size, str) else integer(size, "each size in shapes", minimum=1)
        for size in sizes
    )


def _symbolic(
    shapes: Sequence[tuple[Size, ...]], dtype: Any, constraints: Sequence[str]
) -> list[jax.ShapeDtypeStruct]:
    """Make the types of arguments, in which names are symbols of JAX."""
    scope = jax.export.SymbolicScope(constraints)
    texts = [", ".join(map(str, shape)) for shape in shapes]
    return [
        jax.ShapeDtypeStruct(jax.export.symbolic_shape(text, scope=scope), dtype) for text in texts
    ]


def _stablehlo(
    function: Callable[..., Any],
    arguments: Sequence[jax.ShapeDtypeStruct],
    platforms: Sequence[str],
) -> bytes:
    exported = jax.export.export(jax.jit(fold(function)), platforms=platforms)(*arguments)
    return seal(bytes(exported.serialize()), {})


def _onnx(function: Callable[..., Any], arguments: Sequence[jax.ShapeDtypeStruct]) -> bytes:
    try:
        import jax2onnx
    except ImportError as error:
        raise ExportError(
            'jax2onnx must be installed to write .onnx files: pip install "dilax-jax[interop]".'
        ) from error
    with using(algorithms.lax):
        folded = rewritten(_apart(function), dict.fromkeys(_POOLS, _pool_of_planes))
        model = jax2onnx.to_onnx(folded, arguments)
    del model.graph.value_info[:]  # shapes of steps on the way: optional, and at times wrong
    return model.SerializeToString()


def _apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """Separate what a function returns from the program that computes it.

    jax2onnx drops two transpositions that undo each other, also where a value between them is
    returned, which then would have the axes of ONNX. An ``Identity`` node keeps it as it is.
    """

    def separated(*arguments: Any) -> Any:
        return jax.lax.optimization_barrier(function(*arguments))

    return separated


def _pool_of_planes(equation: JaxprEqn, operands: Sequence[Any]) -> list[Any]:
    """Pool images ``(N, H, W, C)`` as planes ``(N C, H, W)``.

    jax2onnx pools along all axes, and ONNX Runtime along three at most.
    """
    (x,) = operands
    window = equation.params["window_dimensions"]
    if x.ndim != 4 or (window[0], window[-1]) != (1, 1):
        return run_equation(equation, operands)
    params = {
        name: value[:-1] if isinstance(value, tuple) else value
        for name, value in equation.params.items()
    }
    n, height, width, channels = x.shape
    planes = jnp.moveaxis(x, -1, 1).reshape(n * channels, height, width)
    pooled = equation.primitive.bind(planes, **params)
    return [jnp.moveaxis(pooled.reshape(n, channels, *pooled.shape[1:]), 1, -1)]
