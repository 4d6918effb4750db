"""`receptive_field` against gradients and the closed form, one operation or network at a time."""

import time
from fractions import Fraction

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import dilax
from dilax.analysis import Layer, receptive_field, stack_receptive_field
from tests.analysis.gradients import seen_by, weights
from tests.analysis.test_layers import drn_c_26, tcn, vgg16, wavenet
from tests.cases import thinned

pytestmark = pytest.mark.usefixtures("compile_quickly")
X = jax.ShapeDtypeStruct((1, 40, 36, 2), jnp.float32)
LINE = jax.ShapeDtypeStruct((1, 64, 2), jnp.float32)


def numbers(found):
    return [(axis.size, axis.stride, axis.start) for axis in found.axes]


def run(layers):
    """A stack of layers as a network, one feature wide."""

    def network(x):
        for layer in layers:
            (size,) = set(np.ravel(layer.kernel_size))
            kernel = jnp.ones((*(int(size),) * (x.ndim - 2), 1, 1))
            x = dilax.conv(
                x, kernel, strides=layer.strides, kernel_dilation=layer.kernel_dilation,
                padding=layer.padding,
            )  # fmt: skip
        return x

    return network


@pytest.mark.parametrize(
    ("layers", "shape"),
    [
        (vgg16(), (224, 224)),
        (drn_c_26(), (1000, 900)),
        (wavenet(), (6000,)),
        (tcn(7, 8), (784,)),
        ([Layer(3, 2, 1, 1), Layer(3, 1, 4, "CAUSAL"), Layer(2, 3)], (60,)),
    ],
)
def test_the_closed_form_is_traced(layers, shape):
    x = jax.ShapeDtypeStruct((1, *shape, 1), jnp.float32)
    found = receptive_field(run(layers), x)
    closed = stack_receptive_field(layers)
    for place, axis in enumerate(found.outputs[0].axes):
        column = min(place, len(closed.size) - 1)
        assert axis.size == closed.size[column]
        assert axis.stride == closed.stride[column]
        assert axis.start == closed.start[column]
        assert axis.padding[0] == closed.padding[column][0]
    sizes = [layer.axes[0].size for layer in found.layers]
    assert sizes == [stack_receptive_field(layers[:n]).size[0] for n in range(1, len(layers) + 1)]


def by_hand(function, x, expected):
    (found,) = receptive_field(function, x).outputs
    assert numbers(found) == expected
    return found


def test_transposed_convolution():
    kernel = weights(0, (4, 2, 2))

    def network(x):
        return lax.conv_transpose(x, kernel, (2,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))

    found = by_hand(network, LINE, [(2, Fraction(1, 2), -1)])
    for place in range(8, 14):
        assert found.interval(0, place, 0) == seen_by(network, LINE.shape, (0, place), (1,))


@jax.custom_vjp
def passed_on(x):
    return 2 * x


passed_on.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))


def real_and_imaginary(x):
    return x.real + x.imag


OPERATIONS = {
    "mean over space": lambda x: x.mean(axis=(1, 2)),
    "squeeze and excite": lambda x: x * jax.nn.sigmoid(x.mean(axis=(1, 2), keepdims=True)),
    "flatten": lambda x: x.reshape(1, -1) @ weights(0, (40 * 36 * 2, 3)),
    "squeeze and excite of a convolution": lambda x: OPERATIONS["squeeze and excite"](
        dilax.conv(x, weights(0, (3, 3, 2, 2)))
    ),
    "tokens and back": lambda x: dilax.conv(
        (x.reshape(1, -1, 2) @ weights(0, (2, 2))).reshape(1, 40, 36, 2), weights(1, (3, 5, 2, 2))
    ),
    "flatten rows and unflatten": lambda x: x.reshape(1, -1, 2).reshape(1, 40, 36, 2)[:, 3:],
    "patches": lambda x: x.reshape(1, 10, 4, 9, 4, 2).swapaxes(2, 3).reshape(1, 10, 9, 32)
    @ weights(0, (32, 3)),
    "space to depth to space": lambda x: x.reshape(1, 20, 2, 36, 2).transpose(0, 2, 1, 3, 4)[:, 1],
    "a row": lambda x: x[:, 7],
    "cumulative sum": lambda x: jnp.cumsum(x, axis=1),
    "cumulative sum from the end": lambda x: lax.cumsum(x, axis=2, reverse=True),
    "nearest": lambda x: jax.image.resize(x, (1, 80, 54, 2), "nearest"),
    "linear down and up": lambda x: jax.image.resize(
        jax.image.resize(x, (1, 20, 36, 2), "linear"), (1, 40, 36, 2), "linear"
    ),
    "cubic": lambda x: jax.image.resize(x, (1, 40, 72, 2), "cubic"),
    "take": lambda x: jnp.take(x, jnp.array([3, 9, 4]), axis=1),
    "every third row, every second column": lambda x: x[:, 1::3, ::2],
    "rows and columns by index": lambda x: x[:, jnp.array([[3], [9], [4]]), jnp.array([5, 0, 7])],
    "dynamic slice": lambda x: lax.dynamic_slice_in_dim(x, 5, 20, axis=1),
    "update": lambda x: lax.dynamic_update_slice(x, 2 * x[:, :4], (0, 10, 0, 0)),
    "wrapped": lambda x: jnp.pad(x, ((0, 0), (2, 2), (1, 1), (0, 0)), mode="wrap"),
    "reflected": lambda x: jnp.pad(x, ((0, 0), (2, 2), (1, 1), (0, 0)), mode="reflect"),
    "split and joined": lambda x: jnp.concatenate(jnp.split(x, 4, axis=1), axis=1),
    "stacked and taken apart": lambda x: jnp.stack(
        jnp.unstack(dilax.conv(x, weights(0, (3, 3, 2, 2))), axis=1)[4:9], axis=1
    ),
    "stacked branches": lambda x: jnp.stack(
        [dilax.conv(x, weights(0, (5, 3, 2, 2))), dilax.conv(x, weights(0, (3, 1, 2, 2)))], axis=-1
    )[..., 1],
    "stacked features": lambda x: jnp.stack([x, jnp.roll(x, 2, axis=1)], axis=-1).reshape(
        1, 40, 36, 4
    ) @ weights(0, (4, 3)),
    "tiled": lambda x: jnp.tile(dilax.conv(x, weights(0, (3, 3, 2, 2))), (1, 3, 1, 2)),
    "halves swapped": lambda x: jnp.concatenate([x[:, 20:], x[:, :20]], axis=1),
    "shuffled channels": lambda x: jnp.concatenate(
        [dilax.conv(x, weights(0, (3, 3, 2, 2))), x], axis=-1
    )[..., 2:],
    "padded by a convolution of zeros": lambda x: jnp.pad(x, ((0, 0), (3, 0), (0, 0), (0, 0)))[
        :, 1:
    ],
    "jit": jax.jit(lambda x: dilax.conv(x, weights(0, (3, 3, 2, 2)))),
    "remat": jax.checkpoint(lambda x: dilax.conv(x, weights(0, (3, 3, 2, 2)))),
    "cond": lambda x: lax.cond(
        x.shape[0] == 1, lambda x: dilax.conv(x, weights(0, (3, 3, 2, 2))), lambda x: x, x
    ),
    "vmap": lambda x: jax.vmap(lambda x: dilax.depthwise_conv(x, weights(0, (3, 3, 1, 2))))(x),
    "input gradient": lambda x: jax.vjp(
        lambda y: dilax.conv(y, weights(0, (3, 2, 2, 2)), strides=2), jnp.ones((1, 80, 72, 2))
    )[1](x)[0],
    "depthwise input gradient of lax": lambda x: jax.vjp(
        lambda y: lax.conv_general_dilated(
            y, weights(0, (3, 2, 1, 2)), (2, 2), "SAME", feature_group_count=2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ), jnp.ones((1, 80, 72, 2)),
    )[1](x)[0],
    "scan over layers": lambda x: lax.scan(
        lambda x, kernel: (dilax.conv(x, kernel), None), x, weights(0, (4, 3, 3, 2, 2))
    )[0],
    "loop": lambda x: lax.fori_loop(0, 3, lambda _, x: dilax.conv(x, weights(0, (3, 3, 2, 2))), x),
    "pixel shuffle": lambda x: jnp.repeat(x, 2, axis=-1).reshape(1, 40, 36, 2, 2, 1)
    .transpose(0, 1, 3, 2, 4, 5).reshape(1, 80, 72, 1),
    "space to batch": lambda x: dilax.conv(
        x.reshape(1, 20, 2, 18, 2, 2).transpose(2, 4, 0, 1, 3, 5).reshape(4, 20, 18, 2),
        weights(0, (3, 3, 2, 2)),
    ).reshape(2, 2, 1, 20, 18, 2).transpose(2, 3, 0, 4, 1, 5).reshape(1, 40, 36, 2),
    "channels first": lambda x: jnp.moveaxis(lax.conv_general_dilated(
        jnp.moveaxis(x, -1, 1), weights(0, (2, 2, 3, 5)), (1, 2), "SAME", rhs_dilation=(2, 1)
    ), 1, -1),
    "patches of lax": lambda x: lax.conv_general_dilated_patches(
        x, (3, 2), (2, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    ),
    "rolled": lambda x: jnp.roll(x, 3, axis=1),
    "custom_vjp": lambda x: passed_on(dilax.conv(x, weights(0, (3, 3, 2, 2)))),
    "custom_jvp": lambda x: jax.nn.silu(jax.nn.relu6(x / 10)),
    "normalised rows": lambda x: (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True),
    "Fourier": lambda x: real_and_imaginary(jnp.fft.rfft(x, axis=1)),
    "grouped": lambda x: dilax.conv(
        jnp.concatenate([x, x[:, ::-1][:, ::-1], jnp.roll(x, 0, axis=1)], axis=-1),
        weights(0, (1, 3, 2, 3)), feature_group_count=3,
    ),
    "attention": lambda x: jax.nn.softmax(
        x.reshape(1, -1, 2) @ x.reshape(1, -1, 2).swapaxes(1, 2)
    ) @ x.reshape(1, -1, 2),
}  # fmt: skip


@pytest.mark.parametrize("name", thinned([(name,) for name in OPERATIONS], 2))
def test_one_operation_against_gradients(name):
    """In the middle, and away from it."""
    function = OPERATIONS[name]
    found = receptive_field(function, X)
    (output,) = found.outputs
    said = ("near the border", "move unevenly")
    assert not [one for one in found.assumptions if not any(word in one for word in said)]
    for share in (0.4, 0.5):
        position = (0, *(int(share * size) for size in output.shape[1:-1]))
        expected = output.interval(*position, 0)
        assert seen_by(function, X.shape, position, (1, 2)) == expected


@pytest.mark.parametrize("name", ["wrapped", "reflected"])
def test_a_border_that_differs_is_said(name):
    found = receptive_field(OPERATIONS[name], X)
    assert numbers(found.outputs[0]) == [(1, 1, -2), (1, 1, -1)]
    assert found.assumptions == (
        "output: along input axis 1, entries near the border see something else",
        "output: along input axis 2, entries near the border see something else",
    )


class Small(nnx.Module):
    def __init__(self, rngs):
        self.stem = nnx.Conv(2, 4, (5, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs, use_running_average=True)
        self.dilated = nnx.Conv(4, 4, (3, 3), kernel_dilation=(2, 3), rngs=rngs)
        self.up = nnx.ConvTranspose(4, 3, (4, 4), strides=(2, 2), rngs=rngs)

    def __call__(self, x):
        x = nnx.avg_pool(nnx.relu(self.norm(self.stem(x))), (2, 2), strides=(1, 1))
        return self.up(x + self.dilated(x))


class SmallLinen(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, x):
        x = flax.linen.Conv(4, (5, 3), strides=2, name="stem")(x)
        x = flax.linen.max_pool(flax.linen.gelu(x), (3, 3), strides=(2, 2), padding="SAME")
        x = flax.linen.Conv(4, (3, 3), kernel_dilation=2, feature_group_count=4)(x)
        return flax.linen.LayerNorm()(x) + flax.linen.ConvTranspose(4, (3, 3))(x)


def positive(tree):
    return jax.tree.map(lambda leaf: jnp.abs(leaf) + 0.01, tree)


def nnx_network():
    graph, state = nnx.split(Small(nnx.Rngs(0)))
    return lambda x: nnx.merge(graph, positive(state))(x)


def linen_network():
    model = SmallLinen()
    variables = model.init(jax.random.key(0), jnp.ones(X.shape))
    return lambda x: model.apply(positive(variables), x)


@pytest.mark.parametrize("make", [nnx_network, linen_network])
def test_stock_networks(make):
    network = make()
    found = receptive_field(network, X)
    (output,) = found.outputs
    assert not found.assumptions
    for share in (0.4, 0.5, 0.55):
        position = (0, *(int(share * size) for size in output.shape[1:-1]))
        assert seen_by(network, X.shape, position, (1, 2)) == output.interval(*position, 0)


def test_many_outputs_and_other_axes():
    def network(x):
        return {"a": x[:, ::2], "b": (x, x.mean(axis=2))}

    outputs = receptive_field(network, X, axes=(-2,)).outputs
    assert [one.name for one in outputs] == ["output['a']", "output['b'][0]", "output['b'][1]"]
    assert [numbers(one) for one in outputs] == [[(1, 1, 0)], [(1, 1, 0)], [(36, 0, 0)]]


def test_tokens_are_looked_up_one_by_one():
    tokens = jax.ShapeDtypeStruct((2, 50), jnp.int32)

    def network(tokens):
        embedded = jnp.take(weights(0, (10, 4)), tokens, axis=0)
        return dilax.conv(embedded, weights(1, (3, 4, 4)), kernel_dilation=2, padding="CAUSAL")

    (found,) = receptive_field(network, tokens, axes=(1,)).outputs
    assert numbers(found) == [(5, 1, -4)]


def test_the_gradient_of_a_maximum_sees_what_was_compared():
    """Entry ``p`` lies in the windows from ``2 p' <= p <= 2 p' + 2``: five entries at the most."""

    def pool(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 1, 1), (1, 2, 1, 1), "VALID")

    found = by_hand(jax.grad(lambda x: (pool(x) ** 2).sum()), X, [(5, 1, -2), (1, 1, 0)])
    assert found.interval(0, 20, 0, 0)[0] == (18, 22)
    assert found.interval(0, 21, 0, 0)[0] == (20, 22)


def test_sorting_sees_everything():
    for function in (lambda x: jnp.sort(x, axis=1), lambda x: lax.top_k(x.swapaxes(1, 3), 3)[0]):
        found = receptive_field(function, X)
        assert not found.assumptions
        assert found.outputs[0].axes[0].size == 40
        assert found.outputs[0].axes[1].size == 1


def test_a_place_drawn_from_a_key_inside_the_function_is_known():
    def crop(x):
        first = jax.random.randint(jax.random.key(1), (), 0, 30)
        return lax.dynamic_slice_in_dim(x, first, 5, axis=1)

    start = int(jax.random.randint(jax.random.key(1), (), 0, 30))
    (found,) = receptive_field(crop, X).outputs
    assert numbers(found) == [(1, 1, start), (1, 1, 0)]


def test_fifty_layers_are_traced_in_two_seconds():
    kernel = jnp.ones((3, 3, 8, 8))

    def network(x):
        for place in range(50):
            x = x + jax.nn.gelu(dilax.conv(x, kernel, kernel_dilation=1 + place % 3))
        return x

    x = jax.ShapeDtypeStruct((1, 224, 224, 8), jnp.float32)
    started = time.process_time()
    found = receptive_field(network, x)
    assert time.process_time() - started < 2
    assert found.outputs[0].axes[0].size == 1 + 2 * sum(1 + place % 3 for place in range(50))


def test_padding_counts_as_input_at_the_border_of_tokens():
    """Rows that come back from a line of tokens go on beyond their ends as an image does."""
    x = jax.ShapeDtypeStruct((1, 5, 6, 2), jnp.float32)

    def network(x):
        tokens = x.reshape(1, 30, 2) @ jnp.ones((2, 2))
        return dilax.conv(tokens.reshape(1, 5, 6, 2), jnp.ones((3, 5, 2, 2)))

    found = by_hand(network, x, [(3, 1, -1), (5, 1, -2)])
    assert found.interval(0, 0, 0, 0) == ((-1, 1), (-2, 2))
    assert found.interval(0, 4, 5, 1) == ((3, 5), (3, 7))


def test_features_of_branches_see_different_inputs():
    def network(x):
        wide = dilax.conv(x, jnp.ones((3, 3, 2, 2)), kernel_dilation=4)
        return jnp.concatenate([x, wide], axis=-1)

    found = by_hand(network, X, [(9, 1, -4), (9, 1, -4)])
    assert found.interval(0, 20, 18, 1) == ((20, 20), (18, 18))
    assert found.interval(0, 20, 18, 2) == ((16, 24), (14, 22))


def test_groups_of_many_features_after_one_another():
    """What lies beyond the features, and would grow 4-fold with each layer, costs nothing."""

    def network(x):
        for place in range(24):
            x = jnp.concatenate([x, x[:, ::-1], x, jnp.roll(x, 1, axis=1)], axis=-1)
            x = dilax.conv(x, weights(place, (1, 4, 2)), feature_group_count=2)
        return x

    assert receptive_field(network, LINE).outputs[0].axes[0].size == 64


@pytest.mark.parametrize("convolution", [lax.conv_general_dilated, dilax.conv_general_dilated])
def test_a_map_of_one_entry_goes_on_as_a_large_one_would(convolution):
    layers = [*[Layer(3, 2, 1, 1)] * 5, Layer(3, padding=1), Layer(5, 1, 2, 4)]

    def network(x):
        for layer in layers:
            kernel, pads = jnp.ones((layer.kernel_size, 1, 1)), [(layer.padding, layer.padding)]
            x = convolution(
                x, kernel, (layer.strides,), pads, rhs_dilation=(layer.kernel_dilation,),
                dimension_numbers=("NWC", "WIO", "NWC"),
            )  # fmt: skip
        return x

    field = stack_receptive_field(layers)
    expected = [(field.size[0], field.stride[0], field.start[0])]
    by_hand(network, jax.ShapeDtypeStruct((1, 32, 1), jnp.float32), expected)


def test_a_long_axis_turned_twice_but_for_its_end():
    """Beyond a million entries the second turn differs from the first."""
    size = (1 << 20) + 8
    places = np.arange(size)[::-1].copy()
    places[-8:] = 3

    def network(x):
        return jnp.take(x[::-1], places, axis=0)

    x = jax.ShapeDtypeStruct((size,), jnp.float32)
    (found,) = receptive_field(network, x, axes=(0,)).outputs
    assert found.interval(7) == ((7, 7),)
    assert found.interval(size - 1) == ((size - 4, size - 4),)
