"""Comparison of a stream with the function of the whole signal."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dilax.inference import StreamOutput, stream


def close(found, expected, tolerance=1e-5, name=""):
    found, expected = (np.asarray(array).astype(np.float64) for array in (found, expected))
    largest = max(np.abs(expected).max(initial=0), 1)
    np.testing.assert_allclose(found, expected, tolerance, tolerance * largest, err_msg=name)


def is_output(value):
    return isinstance(value, StreamOutput)


def chunks(x, sizes, axis):
    """The input in pieces of the sizes, in turn, without those that would be too long."""
    start, (first, *_) = 0, jax.tree.leaves(x)
    length, turns = first.shape[axis], itertools.cycle(sizes)
    while start < length:
        size = min(next(turns), length - start)
        yield jax.tree.map(lambda a, s=start, n=size: lax.slice_in_dim(a, s, s + n, axis=axis), x)
        start += size


def assert_streams(function, x, *, axis=1, sizes=(1, 3), tolerance=1e-5):
    """The outputs for chunks, one after the other, are those for the whole signal."""
    streaming = stream(function, x, axis=axis)
    state, found = streaming.initial_state, []
    for chunk in chunks(x, [size * streaming.multiple for size in sizes], axis):
        state, y = streaming.step(state, chunk)
        found.append(y)

    def compare(path, output, expected, *parts):
        whole = jnp.concatenate(parts, output.axis)
        whole = lax.slice_in_dim(whole, output.skip, None, axis=output.axis)
        assert whole.dtype == expected.dtype and whole.shape == expected.shape, path
        close(whole, expected, tolerance, jax.tree_util.keystr(path))

    trees = streaming.outputs, jax.jit(function)(x), *found
    jax.tree_util.tree_map_with_path(compare, *trees, is_leaf=is_output)
    return streaming


def entries(streaming):
    """How many numbers the state holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(streaming.initial_state))


def all_of(functions):
    """One function with the outputs of many, by name, which takes less time to compile."""
    return lambda x: {name: function(x) for name, function in functions.items()}
