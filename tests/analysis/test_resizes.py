"""Fields of interpolations between any two sizes, against Jacobians: of every output entry."""

import itertools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.scipy.ndimage import map_coordinates

import dilax
from dilax.analysis import receptive_field
from tests import cases
from tests.analysis.gradients import weights

pytestmark = pytest.mark.usefixtures("compile_quickly")
METHODS = ("nearest", "linear", "cubic", "lanczos3", "lanczos5")
SIZES = [(33, 129), (65, 513), (32, 128), (129, 33), (40, 27), (7, 3), (5, 64), (1, 6), (9, 9)]
NONE = (0, -1)


def hulls(touched):
    """First and last input of each row of a matrix of outputs and inputs."""
    places = [np.flatnonzero(row) for row in touched]
    return [(int(one[0]), int(one[-1])) if len(one) else NONE for one in places]


def inside(interval, size):
    """An interval without padding."""
    first, last = max(interval[0], 0), min(interval[1], size - 1)
    return (first, last) if first <= last else NONE


def check(function, shape, *, equal=operator.eq):
    """Every output entry along axis 1 sees what the Jacobian shows, and the size is the largest."""
    x = jnp.asarray(np.random.default_rng(0).uniform(1, 2, shape), jnp.float32)
    found = receptive_field(function, x, axes=(1,))
    (output,) = found.outputs
    (axis,) = output.axes
    with jax.disable_jit():  # what is fused changes which weights are rounded to 0
        jacobian = np.abs(np.asarray(jax.jacobian(function)(x))) > 0
    others = tuple(a for a in range(jacobian.ndim) if a not in (1, len(output.shape) + 1))
    expected = hulls(jacobian.any(axis=others))
    middle = [n // 2 for n in output.shape]
    features = range(output.shape[-1])
    for place, true in enumerate(expected):
        at = [(0, place, *middle[2:-1], one) for one in features]
        seen = [inside(output.interval(*one)[0], shape[1]) for one in at]
        first = min((low for low, high in seen if low <= high), default=0)
        assert equal((first, max(high for _, high in seen)), true)
    assert axis.size == max(last - first + 1 for first, last in expected)
    return found


def resized(size, method="linear", antialias=True):
    return lambda x: jax.image.resize(
        x, (x.shape[0], size, *x.shape[2:]), method, antialias=antialias
    )


ROWS = list(itertools.product(SIZES, METHODS, [True, False]))


@pytest.mark.parametrize(("sizes", "method", "antialias"), cases.thinned(ROWS, 40))
def test_resize(sizes, method, antialias):
    old, new = sizes
    check(resized(new, method, antialias), (1, old, 1))


@pytest.mark.parametrize(
    ("old", "new", "size", "stride"), [(33, 129, 2, 33 / 128), (65, 513, 2, 65 / 512)]
)
def test_an_uneven_motion_is_said(old, new, size, stride):
    """By hand: the first and the last entry would see inputs -1 and ``old``, if there were any."""
    found = receptive_field(resized(new), jnp.ones((1, old, 5, 1)))
    height = found.outputs[0].axes[0]
    assert (height.size, float(height.stride), height.start) == (size, stride, 0)
    assert found.assumptions == (
        "output: along input axis 1, entries move unevenly; size is the largest of theirs and "
        "stride the mean",
    )


def image(size):
    return (1, size, 3, 1)


KERNEL = weights(0, (3, 1, 1, 2))
BACK = weights(1, (3, 1, 2, 1))
THERE_AND_BACK = {
    "in series": (lambda x: resized(97)(resized(65)(x)), image(33)),
    "up, then down": (lambda x: resized(20, "cubic")(resized(65)(x)), image(33)),
    "a convolution before": (lambda x: resized(97)(dilax.conv(x, KERNEL, padding=0)), image(27)),
    "a convolution after": (lambda x: dilax.conv(resized(97)(x), KERNEL, padding=0), image(27)),
    "between convolutions": (
        lambda x: dilax.conv(
            resized(129)(dilax.conv(x, KERNEL, padding=0)), BACK, kernel_dilation=5, padding=0
        ),
        image(35),
    ),
    "strides before, as in a decoder": (
        lambda x: resized(65)(dilax.conv(x, KERNEL, strides=2, padding=0)), image(41),
    ),
    "a decoder with two branches": (
        lambda x: jnp.concatenate([resized(65)(x[:, ::4]), x[:, :65]], axis=-1), image(66),
    ),
    "pooled to few, and back": (
        lambda x: resized(33)(jax.nn.relu(resized(5, "nearest")(x))), image(33),
    ),
    "turned": (lambda x: resized(64)(x)[:, ::-1], image(27)),
    "reflected before": (
        lambda x: resized(64)(jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="reflect")),
        image(27),
    ),
    "two axes": (lambda x: jax.image.resize(x, (1, 50, 8, 1), "linear"), image(27)),
    "jit": (jax.jit(lambda x: resized(97)(jax.jit(resized(65, "cubic"))(x))), image(33)),
    "vmap": (jax.vmap(lambda x: jax.image.resize(x, (50, 3, 1), "linear")), image(27)),
    "remat": (jax.checkpoint(resized(64)), image(27)),
}  # fmt: skip


@pytest.mark.parametrize("name", cases.thinned([[name] for name in THERE_AND_BACK], 9))
def test_resizes_among_other_operations(name):
    check(*THERE_AND_BACK[name])


def shifted(old, new, scale, shift, method, antialias=True):
    def function(x):
        return jax.image.scale_and_translate(
            x, (1, new, 1), (1,), jnp.array([scale]), jnp.array([shift]), method,
            antialias=antialias,
        )  # fmt: skip

    return function, (1, old, 1)


MOVED = [(33, 129, 3.7, 0.4), (33, 20, 0.55, -2.5), (21, 50, 1.0, 7.25), (21, 64, 2.9, 1.0)]
MOVES = list(itertools.product(MOVED, METHODS[1:], [True, False]))


@pytest.mark.parametrize(("move", "method", "antialias"), cases.thinned(MOVES, 17))
def test_scale_and_translate(move, method, antialias):
    check(*shifted(*move, method, antialias))


def covers(found, true):
    """Terms that cancel, and factors that are zero throughout, are read though nothing shows it."""
    return found[0] <= true[0] and true[1] <= found[1]


def banded(new, old):
    """Linear interpolation between aligned corners, as a matrix ``(new, old)``."""
    places = np.linspace(0, old - 1, new)
    return np.maximum(1 - np.abs(places[:, None] - np.arange(old)), 0).astype(np.float32)


def products():
    matrix = banded(50, 27)
    filters = np.stack([matrix, np.roll(matrix, 1, axis=1)])  # two for two groups of features
    both = np.einsum("oh,pw->ophw", banded(50, 27), banded(7, 3))
    coordinates = np.linspace(0, 26, 50)
    across = np.meshgrid([0], coordinates, [0, 1, 2], [0], indexing="ij")
    line = np.linspace(0, 1, 27)
    return {
        "einsum": lambda x: jnp.einsum("oh,nhwc->nowc", matrix, x),
        "einsum, the image first": lambda x: jnp.einsum("nhwc,ho->nowc", x, matrix.T),
        "a constant of jax": lambda x: jnp.einsum("oh,nhwc->nowc", jnp.asarray(matrix), x),
        "dot_general": lambda x: jnp.moveaxis(
            lax.dot_general(matrix, x, (((1,), (1,)), ((), ()))), 0, 1
        ),
        "tensordot": lambda x: jnp.moveaxis(jnp.tensordot(x, matrix, ((1,), (1,))), -1, 1),
        "both axes at once": lambda x: jnp.einsum("ophw,nhwc->nopc", both, x),
        "both axes in turn": lambda x: jnp.einsum("oh,pw,nhwc->nopc", matrix, banded(7, 3), x),
        "a matrix for each column": lambda x: jnp.einsum(
            "woh,nhwc->nowc", np.stack([matrix] * 3), x
        ),
        "a matrix for each feature": lambda x: jnp.einsum("foh,nhwc->nowf", filters, x),
        "by a vector of weights": lambda x: jnp.einsum(
            "h,nhwc->nwc", banded(50, 27)[20], x
        )[:, None],
        "float16": lambda x: jnp.einsum("oh,nhwc->nowc", matrix.astype(np.float16), x),
        "map_coordinates": lambda x: map_coordinates(x, across, order=1),
        "interp-like gathers": lambda x: x[:, np.floor(coordinates).astype(int)] * 0.3
        + x[:, np.ceil(coordinates).astype(int)] * 0.7,
        "interp": lambda x: jax.vmap(
            lambda y: jnp.interp(np.linspace(0, 1, 50), line, y), in_axes=1, out_axes=1
        )(x[0, :, :, 0])[None, :, :, None],
        "jit": jax.jit(lambda x: jnp.einsum("oh,nhwc->nowc", matrix, x)),
        "in a loop": lambda x: lax.fori_loop(
            0, 2, lambda _, x: jnp.einsum("oh,nhwc->nowc", jnp.tri(27) * jnp.tri(27, k=1).T, x), x
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", cases.thinned([[name] for name in products()], 3))
def test_products_with_a_constant_in_a_band(name):
    check(
        products()[name],
        image(27),
        equal=covers if name in ("interp", "map_coordinates") else operator.eq,
    )


def test_a_kernel_of_zeros_is_taken_to_read_everything():
    found = receptive_field(lambda x: jnp.zeros((3, 27)) @ x, jnp.ones((1, 27, 2)), axes=(1,))
    assert found.outputs[0].axes[0].size == 27


def test_features_see_together_what_branches_see():
    """Features are no places: they're taken together, whatever they see."""

    def network(x):
        x = resized(65)(x)
        return jnp.concatenate([x, jnp.roll(x, 5, axis=1), jnp.roll(x, 9, axis=1)], axis=-1)

    found = check(network, image(33))
    assert found.outputs[0].axes[0].follows == (1,)
