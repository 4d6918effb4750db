"""The transformation of a function of a whole signal into a step for one chunk of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp

from dilax._checks import check_callable, integer
from dilax.inference._chunks import Run, Value
from dilax.inference._signals import Signal, Uniform
from dilax.inference._stream_rules import RULES
from dilax.inference._two_lengths import Operand, Place, Reader, Result, Step, Unknown

LEAST_STEPS = 64
"""Shortest signal that is traced: of a shorter one, ``x[:, :8]`` might be the whole."""
MOST_STEPS = 2**31 - 1
"""Longest signal that is traced: devices count the entries of an axis in 32 bits."""


@dataclasses.dataclass(frozen=True)
class StreamOutput:
    """How one output of a stream lies in time."""

    axis: int
    """Its axis of time."""
    stride: Fraction
    """Steps of the input for one step of the output; below 1 if the output has more steps."""
    skip: int
    """How many steps come before the first one of the function's output; drop them.

    It is 0 unless the function's output is shorter than its input, as without padding.
    """


@dataclasses.dataclass(frozen=True)
class Stream:
    """A function of a signal, as a step for each chunk of it; ``stream`` makes one."""

    step: Callable[[Any, Any], tuple[Any, Any]]
    """``state, outputs = step(state, chunk)``: a compiled, pure function.

    ``chunk`` is like the example but for its length, which must be a multiple of ``multiple``.
    Every length is compiled once.
    """
    initial_state: tuple[Any, ...]
    """The state before the first chunk: arrays, for each operation that looks back."""
    multiple: int
    """What the length of each chunk must be a multiple of: the product of the strides."""
    outputs: Any
    """A ``StreamOutput`` for each output; None for one that does not depend on time."""


def stream(function: Callable[[Any], Any], example: Any, *, axis: int = 1) -> Stream:
    """Transform a function of a whole signal into one that computes its output chunk by chunk.

    The outputs for all chunks, one after the other, equal the output for the whole signal::

        streaming = stream(function, example)
        state = streaming.initial_state
        for chunk in chunks:
            state, y = streaming.step(state, chunk)

    Nothing is computed twice: each convolution keeps the last ``(k - 1) d`` steps of its input, for
    ``k`` taps at dilation ``d``, and convolves them with the chunk. The step can be used under
    ``jit``, ``vmap``, ``scan`` and derivatives, and the state can be kept in a file.

    The function is traced for signals of the length of ``example``, or of a multiple of at least 64
    steps, and of twice that. It may consist of:

    - convolutions and pools with padding in front alone, ``(k - 1) d`` entries, or padded at both
      ends and cut at the right by as much; without padding; strided, grouped or transposed; with
      other window axes that are padded in any way;
    - operations on each step, such as activations, products of features, normalisation by
      constants or over features, tables, and sums of branches;
    - shifts in time, running sums, and loops over time from its start, as in recurrent layers;
    - steps put together or taken apart, by a reshape of ``(T, C)`` to ``(T / s, s C)`` or back.

    An output that depends on later steps is refused, as is one that depends on the whole signal,
    such as a mean over time, attention, or normalisation by statistics over time.

    Args:
        function: A function of a pytree of arrays, of any library, whose weights are constants, and
            that does the same for signals of any length. The weights are read once.
        example: An input of a usual length, at least as long as the receptive field: arrays, or
            ``jax.ShapeDtypeStruct``. All other axes, such as the batch, keep their sizes.
        axis: The axis of time of every array of the input.

    Returns:
        The step, the state to begin with, and how the outputs lie in time.

    Raises:
        TypeError: ``function`` is not callable, or ``axis`` not an integer.
        ValueError: The output needs later steps, or an operation cannot be done chunk by chunk; the
            message names the operation and its line. Or the arrays of ``example`` have different
            lengths.

    Source: T. Le Paine et al., "Fast WaveNet generation algorithm" (2016), for stacks of dilated
    convolutions with two taps.

    >>> import dilax
    >>> kernel = jnp.ones((3, 1, 1))
    >>> smooth = lambda x: dilax.conv(x, kernel, kernel_dilation=2, padding="CAUSAL")
    >>> streaming = stream(smooth, jnp.zeros((1, 16, 1)))
    >>> state, first = streaming.step(streaming.initial_state, jnp.ones((1, 2, 1)))
    >>> state, second = streaming.step(state, jnp.ones((1, 3, 1)))
    >>> first[0, :, 0], second[0, :, 0]
    (Array([1., 1.], dtype=float32), Array([2., 2., 3.], dtype=float32))
    """
    check_callable(function, "function")
    leaves, structure = jax.tree.flatten(example)
    types = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    axes, length = _time_of(types, integer(axis, "axis"))
    length *= math.ceil(LEAST_STEPS / length)
    program, multiple, values = _read(_Given(function, structure, types, axes), length)
    timings = [_timing(value) for value in values]

    def step(state: Any, chunk: Any) -> tuple[Any, Any]:
        arrays = _checked(chunk, program.given, multiple)
        run, values = program.run(arrays, state)
        found = [value.chunk if isinstance(value, Signal) else value for value in values]
        return tuple(run.memory.kept), jax.tree.unflatten(program.structure, found)

    def initial_state() -> Any:
        zeros = [jnp.zeros(one.shape, one.dtype) for one in program.given.of_length(multiple)]
        return tuple(program.run(zeros, None)[0].memory.initial)

    outputs = jax.tree.unflatten(program.structure, timings)
    return Stream(jax.jit(step), jax.jit(initial_state)(), multiple, outputs)


def _time_of(types: Sequence[jax.ShapeDtypeStruct], axis: int) -> tuple[list[int], int]:
    """Return the axis of time of each array, and their length."""
    if not types or any(not -len(one.shape) <= axis < len(one.shape) for one in types):
        raise ValueError(
            f"example must be made of arrays that have an axis {axis} for time, got shapes "
            f"{[one.shape for one in types]}; give axis=."
        )
    axes = [axis % len(one.shape) for one in types]
    lengths = {one.shape[place] for one, place in zip(types, axes, strict=True)}
    if len(lengths) > 1 or min(lengths) < 1:
        raise ValueError(
            f"example must have as many steps of time in each array, at least one, got "
            f"{sorted(lengths)} along axis {axis}."
        )
    return axes, lengths.pop()


def _checked(chunk: Any, given: _Given, multiple: int) -> list[jax.Array]:
    """Return the arrays of a chunk, which must be like the example but for its length."""
    leaves, structure = jax.tree.flatten(chunk)
    arrays = [jnp.asarray(leaf) for leaf in leaves]
    length = _length_of(arrays, given) if structure == given.structure else None
    if length is None:
        example = jax.tree.unflatten(given.structure, list(given.types))
        raise ValueError(
            f"chunk must be like example but for its length, {example}, got "
            f"{jax.tree.map(jax.typeof, chunk)}."
        )
    if length < 1 or length % multiple:
        raise ValueError(
            f"chunk must have a multiple of {multiple} steps of time, which is the product of the "
            f"strides, got {length}; collect inputs until there are as many."
        )
    return arrays


def _length_of(arrays: Sequence[jax.Array], given: _Given) -> int | None:
    """Return the length of the arrays of an input, or None if their types do not fit."""
    if arrays[0].ndim != len(given.types[0].shape):
        return None
    length = arrays[0].shape[given.axes[0]]
    pairs = zip(arrays, given.of_length(length), strict=True)
    fits = all(array.shape == one.shape and array.dtype == one.dtype for array, one in pairs)
    return length if fits else None


# --- the program ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Given:
    """A function, and the types of its input."""

    function: Callable[[Any], Any]
    structure: Any
    types: Sequence[jax.ShapeDtypeStruct]
    axes: Sequence[int]

    def of_length(self, length: int) -> list[jax.ShapeDtypeStruct]:
        """Return the types of an input of another length."""
        return [
            jax.ShapeDtypeStruct((*one.shape[:axis], length, *one.shape[axis + 1 :]), one.dtype)
            for one, axis in zip(self.types, self.axes, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class _Program:
    """The steps that a function consists of."""

    given: _Given
    steps: Sequence[Step]
    inputs: Sequence[Result]
    results: Sequence[Operand]
    structure: Any
    lengths: tuple[int, int]

    @classmethod
    def of(cls, given: _Given, length: int) -> _Program:
        """Trace a function at a length and at twice that, and read both programs."""
        structure: Any = None

        def of_arrays(*arrays: jax.Array) -> list[Any]:
            nonlocal structure
            argument = jax.tree.unflatten(given.structure, arrays)
            found, structure = jax.tree.flatten(given.function(argument))
            return found

        lengths = (length, 2 * length)
        short, long = (jax.make_jaxpr(of_arrays)(*given.of_length(each)) for each in lengths)
        reader = Reader()
        inputs = [reader.result() for _ in given.types]
        results = reader.run((short, long), inputs, Place())
        return cls(given, reader.steps, inputs, results, structure, lengths)

    def run(self, chunks: Sequence[jax.Array], held: Sequence[Any] | None) -> tuple[Run, list[Any]]:
        """Do the steps on a chunk; return the values of the results."""
        run = Run(RULES, self.lengths, chunks[0].shape[self.given.axes[0]], held)
        for result, chunk, axis in zip(self.inputs, chunks, self.given.axes, strict=True):
            run.begin(result, chunk, axis)
        run.do(self.steps)
        values = [run.value(result) for result in self.results]
        return run, [run.signal(one) if isinstance(one, Uniform) else one for one in values]

    def values(self, length: int) -> tuple[int, list[Value]]:
        """Find what the results would be for a chunk, and what its length is a multiple of."""
        found: Any = None

        def attempt(*chunks: jax.Array) -> None:
            nonlocal found
            found = self.run(chunks, None)

        jax.eval_shape(attempt, *self.given.of_length(length))
        return found[0].multiple, found[1]


def _read(given: _Given, length: int) -> tuple[_Program, int, list[Value]]:
    """Read a function at a length, or at the next one that is a multiple of its strides."""
    multiple = 1
    while True:
        length = math.ceil(length / multiple) * multiple
        if 2 * length > MOST_STEPS:
            raise ValueError(
                f"function must have strides that multiply to a smaller number, got {multiple}"
            )
        program = _Program.of(given, length)
        found, values = program.values(length)
        multiple = math.lcm(multiple, found)
        if length % multiple == 0:
            return program, multiple, values


def _timing(value: Value) -> StreamOutput | None:
    """Return how a result lies in time.

    Raises:
        ValueError: It does not come in step with the input.
    """
    if isinstance(value, Unknown):
        raise ValueError(f"function cannot be streamed: {value.reason}.")
    if not isinstance(value, Signal):
        return None
    if value.rows > 1:
        raise ValueError(
            "function cannot be streamed: its output has time merged with an axis before it; keep "
            "time apart."
        )
    later = math.ceil((value.extra - value.ahead) * value.spacing)
    if later:
        steps = "1 later step" if later == 1 else f"{later} later steps"
        raise ValueError(
            f"function cannot be streamed: its output needs {steps} of the input, because of "
            f"{value.cause}. Pad in front alone, by (kernel_size - 1) * "
            f"kernel_dilation entries."
        )
    if value.ahead > 0:
        raise ValueError(
            f"function cannot be streamed: its output has {value.ahead} steps more than the input "
            f"gives; drop as many at its start or its end."
        )
    return StreamOutput(value.axis, value.spacing, -value.ahead)
