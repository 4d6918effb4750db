"""A convolution as a sum over kernel taps of shifted slices: multiply, add, never inflate.

A grouped convolution whose groups have ``I`` inputs is the sum of ``I`` depthwise ones: for member
``j`` of the groups, every output channel ``o`` of group ``g`` reads input channel ``g I + j``. So
all three passes are written for one channel in, one channel out, and summed or stacked over ``j``:

    conv             y[n, i]  =  sum_k      x[n, s i + d k - low]  w[k]
    input gradient   x'[n, i] =  sum_k      g[n, i + d (K - 1 - k)]  w[k]     (phase by phase)
    kernel gradient  w'[k]    =  sum_{n, i} x[n, s i + d k - low]  g[n, i]

XLA fuses each of the first two into one pass over memory. The third it does not, written as a plain
sum; so a loop over blocks of the batch adds up elementwise products, and reduces them once. Blocks
of whole examples can be padded inside the loop, while they are in the cache.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from dilax.geometry import AxisPadding, ConvGeometry
from dilax.lowerings._alone import alone
from dilax.lowerings._lowering import Lowering, accumulation_type, result_type
from dilax.lowerings._phases import Phase, Phases
from dilax.lowerings._varying import vary, varying_axes
from dilax.lowerings._windows import (
    block,
    input_offsets,
    pad_input,
    window,
)

FEW_TERMS = 9
"""A sum of so few terms reads the array as it is; for more, a padded copy is read faster."""

FEWEST_TERMS = 4
"""The same where neighbours in memory differ in whether they lie inside, as with few channels, and
where a product is no more than what it reads, as with a kernel of ones."""

FEW_CHANNELS = 24
"""Fewer than so many are few."""

LONG_AXIS = 9
"""A kernel of so many taps along one axis reads a padded copy, too."""

UNROLLED_TAPS = 64
"""Up to so many taps are written out for XLA to fuse; more run in a loop."""

MOST_PLANES = 32
"""Up to so many outputs of a group are written out where the input's gradient adds them up."""

TAPS_AT_ONCE = 16
"""The kernel gradient writes out so many taps at most; more run in a loop over some at a time."""

SMALL_OUTPUT = 1 << 18
"""With so few outputs it takes one tap at a time: the input stays in the cache from one tap to the
next, and there is less to compile."""

FEW_PRODUCTS = 1 << 13
"""The kernel gradient of so few outputs is summed as it stands: a loop would take longer to run."""

MOST_EXAMPLES = 7
"""The kernel gradient adds up so many examples at a time, before it touches its running sums."""

BLOCK_BYTES = 1 << 17
"""Running sums of a tap in the kernel gradient stay at about this size, to fit a core's cache."""

WHOLE_BYTES = range(1 << 16, (1 << 18) + 1)
"""So large they may be where examples stay whole and are padded in the loop, `WHOLE_EXAMPLES` at a
time. Smaller ones are soon padded all at once, which the convolution itself has to do anyway."""

WHOLE_EXAMPLES = 8

VECTOR = 16
"""Fewer channels do not fill a vector: the kernel gradient takes them and the last window axis as
one axis, and multiplies whole rows."""

LEAST_ROUNDS = 8
"""A loop of fewer rounds XLA takes apart, into code that it does not fuse."""


def conv(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
    few_terms: int = FEW_TERMS,
) -> jax.Array:
    """``y[n, i, o] = sum_k sum_j x[n, s i + d k - low, g(o) I + j] w[k, j, o]``."""
    del precision  # products of single elements are exact to their type
    dtype = result_type(lhs, preferred_element_type)
    members = rhs.shape[-2]
    copies = rhs.shape[-1] // geometry.feature_group_count
    padded = _better_padded(geometry, members, few_terms if copies == 1 else FEWEST_TERMS)
    source = pad_input(lhs, geometry) if padded else lhs
    offsets = input_offsets(geometry)
    starts = offsets if padded else _moved(offsets, geometry.padding)
    weights = _flat_taps(rhs)

    def seen_by(member: int) -> jax.Array:
        return _sum_over_taps(
            _spread(source, member, geometry, rhs),
            weights[:, member],
            starts,
            geometry.output_size,
            geometry.strides,
            accumulation_type(lhs, rhs, dtype),
            padded,
        )

    shape = (lhs.shape[0], *geometry.output_size, rhs.shape[-1])
    return alone(lambda: _sum(seen_by, members, members).astype(dtype), shape, dtype, rhs)


def input_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
    few_terms: int = FEW_TERMS,
) -> jax.Array:
    """``x'[n, i, g I + j] = sum_k sum_{o in g} g[n, i + d (K - 1 - k), o] w[k, j, o]``."""
    del precision
    dtype = result_type(lhs, preferred_element_type)
    groups, members = geometry.feature_group_count, rhs.shape[-2]
    if lhs.size == 0:
        return jnp.zeros((lhs.shape[0], *geometry.input_size, groups * members), dtype)
    phases = Phases.of(geometry)
    padded = _better_padded(geometry, rhs.shape[-1] // groups, few_terms)
    source = phases.pad(lhs) if padded else phases.spread(lhs)
    outputs, kernels = _planes(source, groups), _planes(rhs, groups)
    ones, wide = (1,) * geometry.rank, accumulation_type(lhs, rhs, dtype)

    def seen_by(member: int) -> jax.Array:
        def part(phase: Phase) -> jax.Array:
            some = kernels[(slice(None), *phase.taps, member)]
            weights = some.reshape(len(outputs), phase.geometry.taps, groups)
            offsets, sizes = phase.offsets(phases.edges), phase.geometry.input_size
            starts = offsets if padded else _moved(offsets, phases.edges)

            def through(output: Any) -> jax.Array:
                seen, weight = outputs[output], weights[output]
                return _sum_over_taps(seen, weight, starts, sizes, ones, wide, padded)

            return _sum(through, len(outputs), MOST_PLANES)

        shape = (lhs.shape[0], *geometry.input_size, groups)
        return alone(lambda: phases.gradient(part).astype(dtype), shape, dtype, rhs)

    return _interleave([seen_by(member) for member in range(members)])


def kernel_gradient(
    lhs: jax.Array,
    rhs: jax.Array,
    geometry: ConvGeometry,
    *,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> jax.Array:
    """``w'[k, j, o] = sum_{n, i} x[n, s i + d k - low, g(o) I + j] g[n, i, o]``."""
    del precision
    dtype = result_type(lhs, preferred_element_type)
    members = lhs.shape[-1] // geometry.feature_group_count
    shape = (*geometry.kernel_size, members, rhs.shape[-1])
    if lhs.size == 0 or rhs.size == 0:
        return jnp.zeros(shape, dtype)
    parts = [
        _sums_of_products(
            _spread(lhs, member, geometry, rhs),
            rhs,
            geometry,
            accumulation_type(lhs, rhs, dtype),
        )
        for member in range(members)
    ]
    return jnp.stack(parts, axis=1).reshape(shape).astype(dtype)


def _better_padded(geometry: ConvGeometry, planes: int, few_terms: int) -> bool:
    """Whether a padded copy is read faster than the array itself; ``planes`` are added up."""
    simple = geometry.feature_group_count >= FEW_CHANNELS or max(geometry.strides) > 1
    few = few_terms if simple else FEWEST_TERMS
    return geometry.taps * planes > few or max(geometry.kernel_size) >= LONG_AXIS


def _moved(offsets: list[tuple[int, ...]], edges: Sequence[AxisPadding]) -> list[tuple[int, ...]]:
    """Offsets in an array padded by ``edges`` as offsets in the array itself."""
    lows = [low for low, _ in edges]
    return [tuple(map(operator.sub, offset, lows)) for offset in offsets]


def _sum_over_taps(
    x: jax.Array,
    weights: jax.Array,
    offsets: list[tuple[int, ...]],
    sizes: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: jnp.dtype,
    padded: bool,
) -> jax.Array:
    """Sum over taps of the window at ``offsets[t]`` times ``weights[t]`` (one a channel).

    If ``x`` is not ``padded``, it is the window of the product: XLA fuses that into a loop which
    computes products only where they lie inside, and reads no zeros.
    """

    def product(tap: Any) -> jax.Array:
        weight = lax.expand_dims(weights[tap].astype(dtype), range(x.ndim - 1))
        if not padded:
            return window(x.astype(dtype) * weight, offsets[tap], sizes, strides)
        offset = offsets[tap] if isinstance(tap, int) else jnp.asarray(offsets, jnp.int32)[tap]
        return window(x, offset, sizes, strides).astype(dtype) * weight

    return _sum(product, len(offsets), UNROLLED_TAPS)


def _sum(term: Callable[[Any], jax.Array], count: int, written_out: int) -> jax.Array:
    """``term(0) + ... + term(count - 1)``, written out or in a loop."""
    if count <= written_out:
        return functools.reduce(lax.add, map(term, range(count)))
    return lax.fori_loop(1, count, lambda place, total: total + term(place), term(0))


def _sums_of_products(
    x: jax.Array, g: jax.Array, geometry: ConvGeometry, dtype: jnp.dtype
) -> jax.Array:
    """``(taps, channels)``: for every tap, the sum of its window times ``g``."""
    outputs = g.size if isinstance(g.size, int) else math.inf
    if outputs <= FEW_PRODUCTS and geometry.taps <= TAPS_AT_ONCE:
        return _sums_as_they_stand(pad_input(x, geometry), g, geometry, dtype)
    channels = g.shape[-1]
    if channels < VECTOR and geometry.rank > 1 and geometry.strides[-1] == 1:
        x, g, geometry = _as_row(x), _as_row(g), _in_rows(geometry, channels)
    offsets = input_offsets(geometry)
    blocks = _Blocks.of(g, geometry)
    source = x if blocks.padded_in_loop else pad_input(x, geometry)
    sizes = (blocks.rows, *geometry.output_size[1:])
    nothing = jnp.zeros((*sizes, g.shape[-1]), dtype)

    def products(offset: Any, pairs: list[tuple[jax.Array, jax.Array]]) -> jax.Array:
        """One tap's window times ``g``, added up over the examples of a block."""
        windows = [(window(x, offset, sizes, geometry.strides), gs) for x, gs in pairs]
        terms = [seen.astype(dtype) * gs.astype(dtype) for seen, gs in windows]
        return functools.reduce(lax.add, terms).reshape(nothing.shape)

    def summed(offsets: Any) -> jax.Array:
        def add(place: jax.Array, totals: list[jax.Array]) -> list[jax.Array]:
            pairs = blocks.at(place, source, g, geometry)
            terms = [products(offset, pairs) for offset in offsets]
            return list(map(lax.add, totals, terms))

        start = [vary(nothing, varying_axes(g))] * len(offsets)
        totals = lax.fori_loop(0, blocks.rounds, add, start)
        return jnp.stack(totals).reshape(len(offsets), -1, channels).sum(axis=1)

    at_once = _largest_divisor(len(offsets), TAPS_AT_ONCE if outputs > SMALL_OUTPUT else 1)
    if at_once == len(offsets):
        return summed(offsets)
    places = jnp.asarray(offsets, jnp.int32).reshape(-1, at_once, geometry.rank)
    return lax.map(summed, places).reshape(-1, channels)


def _as_row(x: jax.Array) -> jax.Array:
    """The last window axis and the channels as one axis, of one channel."""
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1], 1)


def _in_rows(geometry: ConvGeometry, channels: int) -> ConvGeometry:
    """What a depthwise convolution without strides is along such an axis: ``channels`` apart."""
    *others, (low, high) = geometry.padding
    return dataclasses.replace(
        geometry,
        input_size=(*geometry.input_size[:-1], geometry.input_size[-1] * channels),
        kernel_dilation=(*geometry.kernel_dilation[:-1], geometry.kernel_dilation[-1] * channels),
        padding=(*others, (low * channels, high * channels)),
        feature_group_count=1,
    )


def _sums_as_they_stand(
    padded: jax.Array, g: jax.Array, geometry: ConvGeometry, dtype: jnp.dtype
) -> jax.Array:
    """The same in one go for every tap."""

    def of(offset: tuple[int, ...]) -> jax.Array:
        seen = window(padded, offset, geometry.output_size, geometry.strides)
        return (seen.astype(dtype) * g.astype(dtype)).sum(axis=range(g.ndim - 1))

    return jnp.stack([of(offset) for offset in input_offsets(geometry)])


class _Blocks(NamedTuple):
    """How a batch is cut: a few examples, and some rows of their first window axis, at a time."""

    examples: int
    rows: int
    row_blocks: int
    rounds: int
    padded_in_loop: bool

    @classmethod
    def of(cls, g: jax.Array, geometry: ConvGeometry) -> _Blocks:
        """Blocks whose sums stay in the cache, and enough of them where the shape allows."""
        batch, length = g.shape[:2]
        row_bytes = 4 * math.prod(g.shape[2:])
        known = isinstance(batch, int)
        if known and row_bytes * length in WHOLE_BYTES and geometry.taps <= TAPS_AT_ONCE:
            rounds, rest = divmod(batch, WHOLE_EXAMPLES)
            if rest == 0 and rounds >= LEAST_ROUNDS:
                return cls(WHOLE_EXAMPLES, length, 1, rounds, True)
        examples = _largest_divisor(batch, MOST_EXAMPLES)
        parts = max(LEAST_ROUNDS * examples // batch, 1) if known else 1
        rows = _largest_divisor(length, min(BLOCK_BYTES // row_bytes, length // parts))
        row_blocks = length // rows
        return cls(examples, rows, row_blocks, batch // examples * row_blocks, False)

    def at(
        self, place: jax.Array, x: jax.Array, g: jax.Array, geometry: ConvGeometry
    ) -> list[tuple[jax.Array, jax.Array]]:
        """Block ``place``, example by example: what its windows see of the input, and its ``g``.

        ``x`` is the input, padded where the loop does not pad it.
        """
        place = place.astype(jnp.uint32)  # no sign to ask for, and so less to compile
        first = place // self.row_blocks * self.examples
        row = place % self.row_blocks * self.rows
        examples = range(self.examples)
        if self.padded_in_loop:
            some = pad_input(lax.dynamic_slice_in_dim(x, first, self.examples), geometry)
            some = lax.optimization_barrier(some)  # cut out and padded by one kernel, not two
            seen = [some[example : example + 1] for example in examples]
        else:
            span = geometry.strides[0] * (self.rows - 1) + geometry.effective_kernel_size[0]
            start = row * geometry.strides[0]
            seen = [block(x, (first + example, start), (1, span)) for example in examples]
        outputs = [block(g, (first + example, row), (1, self.rows)) for example in examples]
        return list(zip(seen, outputs, strict=True))


def _largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of ``number`` up to ``limit``; 1 of a number not known until it runs."""
    if not isinstance(number, int):
        return 1
    return max(d for d in range(1, max(limit, 1) + 1) if number % d == 0)


def _flat_taps(kernel: jax.Array) -> jax.Array:
    """``(*K, I, O)`` as ``(taps, I, O)``."""
    return kernel.reshape(-1, *kernel.shape[-2:])


def _spread(x: jax.Array, member: int, geometry: ConvGeometry, outputs: jax.Array) -> jax.Array:
    """For every output channel, the input channel that member ``member`` of its group gives it."""
    groups = geometry.feature_group_count
    members, copies = x.shape[-1] // groups, outputs.shape[-1] // groups
    chosen = lax.slice_in_dim(x, member, None, members, axis=-1) if members > 1 else x
    return _map_channels(chosen, lambda c: jnp.repeat(c, copies, axis=-1)) if copies > 1 else chosen


def _planes(x: jax.Array, groups: int) -> jax.Array:
    """For every ``j``, the channels ``g I + j`` of all groups, side by side: ``(I, *, G)``.

    Written to memory: read from there, every tap finds its channels next to each other.
    """
    members = x.shape[-1] // groups
    if members == 1:
        return x[None]
    rows = x.reshape(math.prod(x.shape[:-1]), groups, members)
    planes = lax.optimization_barrier(jnp.moveaxis(rows, -1, 0))
    return planes.reshape(members, *x.shape[:-1], groups)


def _interleave(parts: list[jax.Array]) -> jax.Array:
    """Member ``j`` of group ``g`` from ``parts[j][..., g]``, at channel ``g I + j``."""
    if len(parts) == 1:
        return parts[0]
    flat = [part.reshape(math.prod(part.shape[:-1]), part.shape[-1]) for part in parts]
    return jnp.stack(flat, axis=-1).reshape(*parts[0].shape[:-1], parts[0].shape[-1] * len(parts))


def _map_channels(x: jax.Array, function: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """``function`` of the last axis, all others flattened: XLA is happiest at low ranks."""
    rows = function(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]))
    return rows.reshape(*x.shape[:-1], rows.shape[-1])


taps = Lowering("taps", conv, input_gradient, kernel_gradient)
