"""A function compiled for arguments of one shape, in the way that is fastest on this machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from dilax._atomic import write_bytes
from dilax._checks import check_callable, number
from dilax._processor import processor_features, processor_name
from dilax._version import __version__
from dilax.inference._race import FORMS, OPTIONS, Options, Way, Ways, fastest
from dilax.inference._sealed import ExportError, reason, seal, unseal


@dataclasses.dataclass(frozen=True, eq=False)
class Compiled:
    """A function that ``compile`` made, for arguments of fixed shapes and types."""

    way: str
    """The form and the options that were chosen."""
    compiler_options: Options
    """What XLA was told besides its defaults."""
    milliseconds: Mapping[str, float]
    """The time of a call in each way that raced; empty if none did."""
    _exported: jax.export.Exported
    _call: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        """Call the function.

        Raises:
            TypeError: The arguments have other shapes or types than the examples.
        """
        try:
            return self._call(*arguments)
        except TypeError as error:
            takes, got = _described(_types(self._exported)), _described(arguments)
            raise TypeError(
                f"arguments must be {takes}, got {got}; compile the function again for others."
            ) from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the function with its weights to a file ending in ``.stablehlo``.

        ``load_compiled`` compiles it again with the same options, on any machine of this platform;
        ``load_exported`` reads it too.

        Raises:
            ExportError: The suffix is another one, or an argument has a type that JAX cannot store.
            OSError: The file cannot be written.
        """
        path = Path(path)
        if path.suffix != ".stablehlo":
            raise ExportError(f"path must end in .stablehlo, got {path.name!r}.")
        try:
            program = bytes(self._exported.serialize())
        except Exception as error:
            raise ExportError(f"the function cannot be stored: {reason(error)}") from error
        about = {"way": self.way, "compiler_options": dict(self.compiler_options)}
        write_bytes(path, seal(program, about))


def compile(
    function: Callable[..., Any],
    *examples: Any,
    tolerance: float = 1e-4,
    cache: str | os.PathLike[str] | None = None,
) -> Compiled:
    """Compile a function with constant weights in the way that is fastest on this machine.

    The function is compiled as it is, accelerated, and accelerated and folded; the fastest form
    also with options of XLA, such as wider vectors. These apply to this function alone. Ways that
    fail to compile, or whose results differ from those of the function as it is, are dropped. With
    weights as arguments there is less to gain; give what closes over them, such as
    ``functools.partial(apply, params)``.

    Nothing else should run meanwhile: the race takes a second or two, and compilation several times
    that of ``jax.jit``.

    Args:
        function: A function of pytrees of arrays that ``jax.jit`` could compile.
        *examples: Arrays like those that it will be called with. Shapes and types are fixed.
        tolerance: Largest difference of a result from that of ``function``, relative to the largest
            entry of an array of floats.
        cache: A folder in which to remember which way was the fastest, for the next process that
            compiles the same function of the same shapes, with weights of any value, on a processor
            of the same kind with the same versions.

    Returns:
        The compiled function. Its attributes ``way``, ``compiler_options`` and ``milliseconds`` say
        what was chosen; ``save`` writes it to a file.

    Raises:
        TypeError: ``function`` is not callable.
        ValueError: ``tolerance`` is not a positive number.
        ExportError: The function has side effects, which ``jax.export`` refuses.
        OSError: The cache cannot be written.

    >>> import numpy as np
    >>> import dilax
    >>> kernel = np.ones((3, 3, 1, 8), np.float32)
    >>> images = np.ones((1, 16, 16, 8), np.float32)
    >>> compiled = compile(lambda x: dilax.depthwise_conv(x, kernel), images)
    >>> compiled(images).shape
    (1, 16, 16, 8)
    """
    check_callable(function, "function")
    if number(tolerance, "tolerance") <= 0:
        raise ValueError(f"tolerance must be positive, got {tolerance}.")
    ways = Ways(function, examples, tolerance)
    known = None if cache is None else Path(cache) / f"{_key(function, examples)}.json"
    way = _remembered(known)
    times: dict[Way, float] = {}
    if way is None:
        way, times = fastest(ways)
        if known is not None:
            known.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(known, json.dumps(way._asdict()).encode())
    milliseconds = {str(each): time for each, time in times.items()}
    return Compiled(
        str(way), way.compiler_options, milliseconds, ways.exported(way), ways.call(way)
    )


def load_compiled(path: str | os.PathLike[str]) -> Compiled:
    """Read what ``Compiled.save`` wrote, and compile it with the options that were chosen.

    The check finds damage, not intent: a program may call whatever is registered with XLA, so load
    only files whose origin you trust.

    Raises:
        FileNotFoundError: There is no such file.
        ExportError: The file is damaged, was not written by ``Compiled.save``, or is for another
            platform.
    """
    program, about = unseal(path)
    if "way" not in about:
        raise ExportError(f"{path} was written by export; read it with load_exported.")
    exported = jax.export.deserialize(bytearray(program))
    if jax.default_backend() not in exported.platforms:
        raise ExportError(
            f"{path} is for {' and '.join(exported.platforms)}, got {jax.default_backend()}; "
            "compile the function there."
        )
    options = about["compiler_options"]
    call = jax.jit(exported.call).lower(*_types(exported)).compile(options)
    return Compiled(about["way"], options, {}, exported, call)


def _key(function: Callable[..., Any], examples: Sequence[Any]) -> str:
    """Compute the checksum of all that the choice depends on, but not of the weights."""
    program = str(jax.make_jaxpr(function)(*examples))
    versions = (__version__, jax.__version__, jax.lib.__version__)
    processor = (processor_name(), processor_features(), os.cpu_count())
    devices = [device.device_kind for device in jax.devices()]
    text = repr((program, versions, processor, devices, list(FORMS), OPTIONS))
    return hashlib.sha256(text.encode()).hexdigest()


def _remembered(path: Path | None) -> Way | None:
    """Read a choice; None if there is none, or the file is not one."""
    try:
        way = Way(**json.loads(path.read_bytes())) if path else None
    except (OSError, ValueError, TypeError):
        return None
    return way if way in Way.all() else None


def _types(exported: jax.export.Exported) -> tuple[Any, ...]:
    """Return the types of the arguments, as a pytree."""
    leaves = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in exported.in_avals]
    return jax.tree.unflatten(exported.in_tree, leaves)[0]


def _described(arguments: Any) -> str:
    """Describe arrays by type and shape, such as ``float32[1,28,28,1]``."""
    arrays = [(jnp.result_type(leaf), np.shape(leaf)) for leaf in jax.tree.leaves(arguments)]
    return ", ".join(f"{kind}[{','.join(map(str, shape))}]" for kind, shape in arrays)
