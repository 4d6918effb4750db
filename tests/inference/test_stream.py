"""Streaming: outputs chunk by chunk equal those for the whole signal, or it is refused."""

import functools
import pickle
from fractions import Fraction

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from hypothesis import strategies as st
from jax import lax

import dilax
from dilax.inference import StreamOutput, stream
from tests.inference.streams import all_of, assert_streams, close, entries
from tests.random_arrays import RANDOM, draw

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def assert_refused(function, *words, x=None):
    with pytest.raises(ValueError) as caught:
        stream(function, draw(2, 24, 3) if x is None else x)
    message = str(caught.value)
    for word in ("function", *words):
        assert word in message, message
    assert message.endswith(".") and "\n" not in message


# --- windows --------------------------------------------------------------------------------------

X, KERNEL = draw(2, 24, 3), draw(3, 3, 4)
SQUARE = draw(3, 3, 3)


@pytest.mark.parametrize(
    ("taps", "dilation", "stride"), [(1, 1, 2), (2, 1, 1), (3, 2, 1), (4, 2, 3), (2, 1, 5)]
)
def test_a_causal_convolution(taps, dilation, stride):
    kernel = draw(taps, 3, 4)

    def layer(x):
        return dilax.conv(x, kernel, padding="CAUSAL", kernel_dilation=dilation, strides=stride)

    streaming = assert_streams(layer, draw(2, 60, 3))
    assert streaming.multiple == stride
    assert streaming.outputs == StreamOutput(1, Fraction(stride), 0)
    assert entries(streaming) == 2 * 3 * dilation * (taps - 1)


PADDED = {
    "by the convolution": lambda x: dilax.conv(x, KERNEL, padding=((2, 0),)),
    "before": lambda x: dilax.conv(jnp.pad(x, ((0, 0), (2, 0), (0, 0))), KERNEL, padding="VALID"),
    "by zeros beside": lambda x: dilax.conv(
        jnp.concatenate([jnp.zeros((2, 2, 3)), x], 1), KERNEL, padding="VALID"
    ),
    "by other numbers": lambda x: dilax.conv(
        jnp.pad(x, ((0, 0), (2, 0), (0, 0)), constant_values=0.5), KERNEL, padding="VALID"
    ),
    "in two parts": lambda x: dilax.conv(
        jnp.pad(x, ((0, 0), (1, 0), (0, 0))), KERNEL, padding=((1, 0),)
    ),
    "at both ends, and cut": lambda x: dilax.conv(x, KERNEL, padding=((2, 2),))[:, :-2],
    "too much, and cut": lambda x: dilax.conv(x, KERNEL, padding=((5, 1),))[:, 3:-1],
    "less than nothing": lambda x: dilax.conv(
        lax.pad(jnp.pad(x, ((0, 0), (5, 3), (0, 0))), 0.0, [(0, 0, 0), (-3, -3, 0), (0, 0, 0)]),
        KERNEL,
        padding="VALID",
    ),
}


def test_every_way_to_pad_in_front():
    streaming = assert_streams(all_of(PADDED), X)
    assert {output.skip for output in streaming.outputs.values()} == {0}
    assert entries(streaming) == len(PADDED) * 2 * 2 * 3


@pytest.mark.parametrize("function", [dilax.conv_general_dilated, lax.conv_general_dilated])
@pytest.mark.parametrize(
    ("layout", "axis"), [(("NWC", "WIO", "NWC"), 1), (("NCW", "OIW", "NCW"), -1)]
)
def test_layouts_and_groups(function, layout, axis):
    x, kernel = (draw(2, 20, 4), draw(3, 2, 6)) if axis == 1 else (draw(2, 4, 20), draw(6, 2, 3))

    def layer(x):
        return function(
            x, kernel, (1,), ((4, 0),), rhs_dilation=(2,), dimension_numbers=layout,
            feature_group_count=2,
        )  # fmt: skip

    assert_streams(layer, x, axis=axis)


def test_time_may_be_any_axis_of_a_convolution_but_its_features():
    kernel = draw(3, 3, 2, 5)
    frames = draw(12, 6, 5, 2)
    layout = ("NHWC", "HWIO", "NHWC")

    def along(place):
        pads = [(1, 1), (1, 1)]
        if place:
            pads[place - 1] = (2, 0)
        return lambda x: lax.conv_general_dilated(
            x, kernel, (1, 2 - (place == 2)), pads, dimension_numbers=layout
        )

    assert_streams(along(0), frames, axis=0)
    assert_streams(along(1), draw(2, 9, 6, 2), axis=1)
    assert_streams(along(2), draw(2, 6, 9, 2), axis=2)
    by_dilax = lambda x: dilax.conv(x, kernel, padding=((2, 0), (1, 1)))  # noqa: E731
    assert_streams(by_dilax, draw(2, 9, 6, 2), axis=1)


def test_without_padding_outputs_begin_later():
    def residual(x):
        y = dilax.conv(x, SQUARE, padding="VALID")
        return y + x[:, 2:]

    streaming = assert_streams(lambda x: residual(residual(x)), X)
    assert streaming.outputs.skip == 4
    assert entries(streaming) == 2 * 3 * 4


def test_padding_after_a_layer_without():
    """What comes before the first entry must not be taken for the padding."""

    def layer(x):
        y = dilax.conv(x, SQUARE, padding="VALID") + 1.0
        return dilax.conv(y, SQUARE, padding="CAUSAL"), jnp.cumsum(y, axis=1)

    streaming = assert_streams(layer, X)
    assert [output.skip for output in streaming.outputs] == [2, 2]


def test_transposed_convolutions():
    kernel, further = draw(4, 3, 5), draw(3, 5, 2)

    def upsampled(padding):
        return lambda x: lax.conv_transpose(
            x, kernel, (2,), padding, dimension_numbers=("NWC", "WIO", "NWC")
        )

    streaming = assert_streams(upsampled(((3, 1),)), X)
    assert streaming.outputs == StreamOutput(1, Fraction(1, 2), 0)
    assert_streams(lambda x: upsampled("VALID")(x)[:, :-2], X)
    assert_streams(
        lambda x: dilax.conv(upsampled(((3, 1),))(x), further, padding="CAUSAL", strides=3), X
    )


POOLS = {
    "max": lambda x: dilax.max_pool(x, (3,), padding="CAUSAL"),
    "max, strided": lambda x: dilax.max_pool(x, (3,), strides=2, padding="CAUSAL"),
    "max, blocks": lambda x: dilax.max_pool(x, (8,), strides=4, padding="CAUSAL"),
    "mean": lambda x: dilax.avg_pool(x, (5,), padding="CAUSAL", kernel_dilation=2),
    "Flax's max": lambda x: nnx.max_pool(x, (3,), strides=(3,), padding=((2, 0),)),
    "Flax's mean": lambda x: nnx.avg_pool(x, (3,), padding=((2, 0),), count_include_pad=False),
    "min": lambda x: lax.reduce_window(
        x, jnp.inf, lax.min, (1, 3, 1), (1, 1, 1), ((0, 0), (2, 0), (0, 0))
    ),
    "a stride beyond the window": lambda x: linen.max_pool(x, (2,), (4,)),
    "any reduction": lambda x: lax.reduce_window(
        x, 1.0, lambda a, b: a * b, (1, 3, 1), (1, 1, 1), ((0, 0), (2, 0), (0, 0))
    ),
}


def test_pools():
    assert_streams(all_of(POOLS), X)


@pytest.mark.long
@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_each_pool(pool):
    assert_streams(pool, X)


# --- other operations -----------------------------------------------------------------------------


def recurrent(x):
    rows = jnp.swapaxes(x, 0, 1)
    _, states = lax.scan(
        lambda carry, row: (0.5 * carry + row, carry), jnp.ones(x[:, 0].shape), rows
    )
    return jnp.swapaxes(states, 0, 1)


def differences_of_rows(x):
    later, earlier = (y.reshape(-1, 3) for y in (x[:, 1:], x[:, :-1]))
    return later * 2.0 - earlier + jnp.ones((later.shape[0], 1))


TABLE, MATRIX, NINE, SIX = draw(7, 3), draw(3, 5), draw(9, 2), draw(3, 6)
OPERATIONS = {
    "rows": lambda x: (
        dilax.pointwise_conv(x, MATRIX) + (x.reshape(-1, 3) @ MATRIX).reshape(2, -1, 5)
    ),
    "rows of different times": lambda x: differences_of_rows(x).reshape(2, -1, 3),
    "activations": lambda x: jax.nn.gelu(x) * jax.nn.sigmoid(x) + jax.nn.softmax(x),
    "gates": lambda x: jnp.prod(jnp.stack(jnp.split(x @ MATRIX[:, :4], 2, -1)), 0),
    "normalisation over features": lambda x: jax.nn.standardize(x, axis=-1) * 2.0,
    "variance over features": lambda x: x - x.var(-1, keepdims=True),  # reads a constant NaN
    "products": lambda x: jnp.einsum("btc,cd,btd->btd", x, MATRIX, x @ MATRIX),
    "axes": lambda x: x.transpose(1, 2, 0)[:, None].sum(1, keepdims=True).reshape(-1, 1, 3, 2),
    "a shift": lambda x: jnp.pad(x, ((0, 0), (2, 0), (0, 0)))[:, :-2] - x,
    "one step fewer": lambda x: x[:, :-1],
    "differences": lambda x: x[:, 1:] - x[:, :-1],
    "every third": lambda x: lax.slice_in_dim(x, 0, None, 3, axis=1),
    "every third from the second on": lambda x: lax.slice_in_dim(x, 1, None, 3, axis=1)[..., 1:],
    "repeated": lambda x: jnp.repeat(x, 2, axis=1) * 2.0,
    "steps together": lambda x: x.reshape(2, -1, 9) @ NINE,
    "flattened": lambda x: x.reshape(2, -1),
    "steps apart": lambda x: (x @ SIX).reshape(2, -1, 3),
    "a mask of ones": lambda x: jnp.where(jnp.ones_like(x) > 0, x, 0.0) + np.zeros(x.shape),
    "running sums": lambda x: jnp.cumsum(jnp.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1], axis=1),
    "running products": lambda x: (jnp.cumprod(x, axis=1), lax.cummax(x, 1), lax.cummin(x, 1)),
    "a running softmax": lambda x: lax.cumlogsumexp(x, 1),
    "a loop": recurrent,
    "a loop from a pad": lambda x: recurrent(jnp.pad(x, ((0, 0), (2, 0), (0, 0))))[:, :-2],
    "rematerialised": lambda x: jax.checkpoint(lambda x: dilax.conv(x, SQUARE, padding="CAUSAL"))(
        x
    ),
    "sorted features": lambda x: lax.top_k(jnp.sort(x), 2)[0] + x.argmax(-1, keepdims=True),
    "features beside": lambda x: jnp.stack(
        [*jnp.moveaxis(jnp.tile(x, (1, 1, 2)), -1, 0), x.max(-1)]
    ),
    "features by their own index": lambda x: jnp.take_along_axis(
        x, jnp.argmax(x, -1, keepdims=True), -1
    ),
    "features by index": lambda x: x[..., jnp.asarray([2, 0])],
    "what nobody reads": lambda x: (x.mean(1), x)[1],
    "a constant beside": lambda x: (x, jnp.full((3,), 2.0))[0],
}


def test_operations():
    assert_streams(all_of(OPERATIONS), X)


@pytest.mark.long
@pytest.mark.parametrize("function", OPERATIONS.values(), ids=OPERATIONS)
def test_each_operation(function):
    assert_streams(function, X)


def test_a_table_of_symbols():
    symbols = jnp.asarray(RANDOM.integers(0, 7, (2, 20)))
    assert_streams(lambda n: dilax.conv(TABLE[n], KERNEL, padding="CAUSAL"), symbols)
    assert_streams(lambda n: jax.nn.one_hot(n, 7), symbols)


def test_layers_in_a_loop():
    kernels = draw(4, 3, 3, 3)

    def network(x):
        def layer(carry, kernel):
            return carry + jnp.tanh(dilax.conv(carry, kernel, padding="CAUSAL")), kernel.sum()

        return lax.scan(layer, x, kernels)[0]

    assert entries(assert_streams(network, X)) == 4 * 2 * 3 * 2


def test_trees_of_inputs_and_outputs():
    def network(signals):
        y = dilax.conv(signals["sound"], SQUARE, padding="CAUSAL", strides=2)
        gain = lax.slice_in_dim(signals["gain"], 0, None, 2, axis=1)
        return {"y": y * gain, "none": None, "sound": signals["sound"]}

    x = {"sound": X, "gain": draw(2, 24, 1)}
    streaming = assert_streams(network, x)
    assert streaming.outputs["y"].stride == 2 and streaming.outputs["sound"].stride == 1
    assert stream(lambda x: (x, jnp.ones(3)), X).outputs[1] is None


def test_a_length_that_is_no_multiple_of_the_strides():
    """The example may have any length; chunks must be multiples."""

    def layer(x):
        y = dilax.conv(x, SQUARE, padding="CAUSAL", strides=4)
        return jnp.repeat(y, 4, axis=1) + x

    streaming = stream(layer, draw(1, 4, 3)[:, :4])
    assert streaming.multiple == 4
    uneven = stream(lambda x: dilax.conv(x, SQUARE, padding="CAUSAL", strides=4), draw(1, 7, 3))
    assert uneven.multiple == 4


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(jnp.bfloat16, 0.02), (jnp.float16, 2e-3), (jnp.float32, 1e-5)]
)
def test_types(dtype, tolerance):
    kernel = draw(3, 3, 3, dtype=dtype)

    def network(x):
        y = dilax.conv(x, kernel, padding="CAUSAL") + x
        return dilax.max_pool(y, (2,), padding="CAUSAL")

    assert_streams(network, draw(2, 12, 3, dtype=dtype), tolerance=tolerance)


def test_integers_are_exact():
    kernel = jnp.asarray(RANDOM.integers(-5, 5, (3, 3, 3)))
    x = jnp.asarray(RANDOM.integers(-5, 5, (2, 12, 3)))
    network = lambda x: dilax.max_pool(  # noqa: E731
        dilax.conv(x, kernel, padding="CAUSAL"), (2,), padding="CAUSAL"
    )
    assert_streams(network, x, tolerance=0)


def test_double_precision(double):
    kernel, x = draw(3, 3, 3, dtype=np.float64), draw(2, 12, 3, dtype=np.float64)
    assert_streams(lambda x: dilax.conv(x, kernel, padding="CAUSAL"), x, tolerance=1e-13)


# --- the step and the state -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    def layers(x):
        y = jnp.tanh(dilax.conv(x, SQUARE, padding="CAUSAL", kernel_dilation=2)) + x
        return dilax.conv(y, SQUARE, padding="CAUSAL", strides=2)

    return layers


def test_in_a_loop_over_chunks(network):
    streaming = stream(network, X)
    parts = jnp.moveaxis(X.reshape(2, 6, 4, 3), 1, 0)
    _, found = lax.scan(streaming.step, streaming.initial_state, parts)
    close(jnp.moveaxis(found, 0, 1).reshape(2, 12, 3), network(X))


def test_many_streams_at_once(network):
    streaming = stream(network, X[:1])
    begin = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), streaming.initial_state)
    state, first = jax.vmap(streaming.step)(begin, X[:, None, :10])
    state, second = jax.vmap(streaming.step)(state, X[:, None, 10:])
    close(jnp.concatenate([first, second], 2)[:, 0], network(X))


def test_a_state_is_kept_in_a_file(network, tmp_path):
    streaming = stream(network, X)
    state, _ = streaming.step(streaming.initial_state, X[:, :10])
    (tmp_path / "state").write_bytes(pickle.dumps(jax.tree.map(np.asarray, state)))
    again = stream(network, X)
    _, found = again.step(pickle.loads((tmp_path / "state").read_bytes()), X[:, 10:])
    close(found, network(X)[:, 5:])


def test_derivatives_are_those_of_the_function(network):
    streaming = stream(network, X)

    def loss(x):
        state, first = streaming.step(streaming.initial_state, x[:, :10])
        _, second = streaming.step(state, x[:, 10:])
        return jnp.sin(first).sum() + jnp.sin(second).sum()

    close(jax.grad(loss)(X), jax.grad(lambda x: jnp.sin(network(x)).sum())(X))


def test_weights_that_are_traced(network):
    def streamed(kernel):
        streaming = stream(lambda x: dilax.conv(x, kernel * 2, padding="CAUSAL"), X)
        state, _ = streaming.step(streaming.initial_state, X[:, :7])
        return streaming.step(state, X[:, 7:])[1]

    close(jax.jit(streamed)(KERNEL), 2 * dilax.conv(X, KERNEL, padding="CAUSAL")[:, 7:])


def test_with_accelerate_and_fold():
    kernel, factor = draw(3, 1, 3), draw(1, 1, 3)

    def layer(x):
        y = lax.conv_general_dilated(
            x, kernel, (1,), ((2, 0),), feature_group_count=3,
            dimension_numbers=("NWC", "WIO", "NWC"),
        )  # fmt: skip
        return y * factor + 1.0

    assert_streams(dilax.accelerate(layer), X)
    assert_streams(dilax.inference.fold(layer), X)


def test_the_work_of_a_step_does_not_grow_with_the_field():
    kernel = draw(2, 1, 1)

    def network(x):
        for level in range(9):
            x = dilax.conv(x, kernel, padding="CAUSAL", kernel_dilation=2**level)
        return x

    streaming = stream(network, draw(1, 1024, 1))
    assert entries(streaming) == sum(2**level for level in range(9))
    step = jax.make_jaxpr(streaming.step)(streaming.initial_state, draw(1, 1, 1))
    (inner,) = (equation.params["jaxpr"] for equation in step.eqns)
    convolved = [e for e in inner.eqns if e.primitive.name == "dilax_conv"]
    assert [e.outvars[0].aval.shape for e in convolved] == [(1, 1, 1)] * 9


def test_a_short_example_hides_nothing():
    for cut in (lambda x: x[:, :8], lambda x: x[:, -3:]):
        with pytest.raises(ValueError, match="function"):
            stream(cut, draw(1, 2, 1))
    assert_streams(lambda x: jnp.cumsum(x, axis=1), draw(1, 2, 1))


# --- what is refused ------------------------------------------------------------------------------


def by_name(x):
    with jax.named_scope("smoothing"):
        return dilax.conv(x, SQUARE)


def branches_on_the_length(x):
    return x + 1 if x.shape[1] > 100 else x * 2


REFUSED = {
    "a window on both sides": (by_name, ["dilax_conv", "smoothing", "(by_name)", "1 later step "]),
    "a stride with SAME": (lambda x: dilax.conv(x, SQUARE, strides=2), ["2 later steps"]),
    "a mean": (lambda x: x - x.mean(1, keepdims=True), ["reduce_sum", "test_stream.py"]),
    "a flip": (lambda x: x[:, ::-1], ["rev"]),
    "a running sum from the end": (lambda x: lax.cumsum(x, 1, reverse=True), ["cumsum"]),
    "a loop from the end": (
        lambda x: lax.scan(lambda c, r: (c + r, c), 0.0, x[0, :, 0], reverse=True)[1],
        ["scan", "from the end"],
    ),
    "attention": (lambda x: jax.nn.softmax(x @ x.swapaxes(1, 2)) @ x, ["dot_general", "attention"]),
    "a sum by a product": (lambda x: jnp.einsum("btc,btd->bcd", x, x), ["dot_general", "sums"]),
    "time merged with the batch": (lambda x: x.reshape(-1, 3) @ MATRIX, ["time merged"]),
    "windows of time merged with the batch": (
        lambda x: jnp.cumsum(x.reshape(1, -1, 3), axis=1).reshape(2, -1, 3),
        ["cumsum", "merged"],
    ),
    "the first step": (lambda x: x - x[:, :1], ["slice", "fixed place"]),
    "the last step": (lambda x: x[:, -1:], ["slice", "fixed place"]),
    "half of the signal": (lambda x: x[:, x.shape[1] // 2 :], ["slice"]),
    "round": (lambda x: jnp.roll(x, 1, axis=1), ["slice"]),
    "positions": (lambda x: x * jnp.arange(x.shape[1])[None, :, None], ["iota", "length"]),
    "the length": (lambda x: x / x.shape[1], ["div", "72.0 or 144.0"]),
    "a constant of the length": (
        lambda x: x + np.arange(x.shape[1])[None, :, None],
        ["add", "shape (1, 72, 1) or (1, 144, 1)"],
    ),
    "random weights": (lambda x: x @ draw(3, 3), ["dot_general", "not the same"]),
    "the signal twice": (lambda x: jnp.concatenate([x, x], 1), ["signal"]),
    "steps by index": (lambda x: x[:, jnp.asarray([0, 2])], ["gather"]),
    "a branch on the length": (branches_on_the_length, ["twice as long", "branches_on_the_length"]),
    "too many steps": (lambda x: jnp.pad(x, ((0, 0), (2, 0), (0, 0))), ["2 steps more"]),
    "zeros at the end": (lambda x: jnp.pad(x, ((0, 0), (0, 1), (0, 0))), ["1 later step ", "pad"]),
    "the end moved": (
        lambda x: jnp.pad(x[:, :-1], ((0, 0), (0, 1), (0, 0))),
        ["1 later step ", "pad"],
    ),
    "a signal after itself": (lambda x: jnp.concatenate([x, x], 1), ["concatenate"]),
    "a branch on a value": (lambda x: lax.cond(x[0, 0, 0] > 0, jnp.sin, jnp.cos, x), ["slice"]),
    "what a loop ends with": (
        lambda x: lax.scan(lambda c, r: (c + r, c), jnp.zeros((2, 3)), x.swapaxes(0, 1))[0],
        ["scan", "whole signal"],
    ),
    "two times": (lambda x: x[:, :, None] - x[:, None], ["sub", "different axes"]),
    "a spectrum": (lambda x: jnp.fft.fft(x, axis=1), ["fft"]),
    "a kernel from the signal": (
        lambda x: lax.conv_general_dilated(x, x, (1,), "VALID"),
        ["conv_general_dilated", "kernel"],
    ),
    "a loop over the batch": (
        lambda x: lax.scan(lambda c, row: (c, 2 * row), 0.0, x)[1],
        ["scan", "another axis"],
    ),
    "an unknown operation": (lambda x: jnp.linalg.qr(x)[1], ["does not know"]),
}  # fmt: skip


@pytest.mark.parametrize(("function", "words"), REFUSED.values(), ids=REFUSED)
def test_refusals(function, words):
    assert_refused(function, *words)


def test_effects_are_refused():
    def printing(x):
        jax.debug.print("{}", x.sum())
        return x

    assert_refused(printing, "effect")


def test_edges_that_are_not_counted_are_refused():
    pool = lambda x: dilax.avg_pool(x, (3,), padding="CAUSAL", count_include_pad=False)  # noqa: E731
    assert_refused(pool, "div", "not the same for inputs of two lengths")


def test_wrong_arguments(network):
    with pytest.raises(TypeError, match="function must be a function, got 3"):
        stream(3, X)
    with pytest.raises(TypeError, match="axis must be an integer"):
        stream(network, X, axis=1.0)
    with pytest.raises(ValueError, match=r"axis 3 for time.*give axis="):
        stream(network, X, axis=3)
    with pytest.raises(ValueError, match=r"as many steps of time in each array"):
        stream(lambda x: x[0], (X, X[:, :5]))
    with pytest.raises(ValueError, match=r"example must be made of arrays"):
        stream(network, ())


def test_wrong_chunks(network):
    streaming = stream(network, X)
    with pytest.raises(ValueError, match=r"multiple of 2 steps of time.*got 3"):
        streaming.step(streaming.initial_state, X[:, :3])
    with pytest.raises(ValueError, match=r"multiple of 2 steps of time.*got 0"):
        streaming.step(streaming.initial_state, X[:, :0])
    for wrong in (X[:1, :2], X[0, :2], X[:, :2].astype(jnp.bfloat16), {"x": X[:, :2]}):
        with pytest.raises(ValueError, match="chunk must be like example but for its length"):
            streaming.step(streaming.initial_state, wrong)


# --- random programs ------------------------------------------------------------------------------


def moves():
    """Operations along time of ``(1, T, 2)``, causal or not."""
    small = st.integers(0, 4)
    pads = st.tuples(st.integers(-2, 5), st.integers(-2, 3), st.sampled_from([0, 0, 0, 1]))
    return st.one_of(
        st.tuples(st.just("pad"), pads),
        st.tuples(st.just("slice"), st.tuples(small, small, st.integers(1, 3))),
        st.tuples(
            st.just("conv"),
            st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), small, small),
        ),
        st.tuples(st.just("max"), st.tuples(st.integers(1, 3), st.integers(1, 3), small)),
        st.tuples(st.just("sum"), st.none()),
        st.tuples(st.just("beside"), st.tuples(st.integers(0, 3), st.integers(0, 1))),
        st.tuples(st.just("repeat"), st.integers(2, 3)),
        st.tuples(st.just("together"), st.integers(2, 3)),
        st.tuples(st.just("shifted sum"), st.integers(1, 3)),
    )


def moved(x, kind, numbers):
    if kind == "pad":
        return lax.pad(x, jnp.float32(0.25), [(0, 0, 0), numbers, (0, 0, 0)])
    if kind == "slice":
        low, high, stride = numbers
        return x[:, low : x.shape[1] - high : stride]
    if kind == "conv":
        taps, dilation, stride, low, high = numbers
        return lax.conv_general_dilated(
            x, MOVING[:taps], (stride,), ((low, high),), rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        ) + 0.125  # fmt: skip
    if kind == "max":
        size, stride, low = numbers
        window = (1, size, 1), (1, stride, 1), ((0, 0), (low, 0), (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, *window)
    if kind == "sum":
        return jnp.cumsum(x, axis=1) / 8
    if kind == "beside":
        before, after = (jnp.full((1, number, 2), 0.5) for number in numbers)
        return jnp.concatenate([before, x, after], axis=1)
    if kind == "repeat":
        return jnp.repeat(x, numbers, axis=1)
    if kind == "together":
        size = x.shape[1] // numbers * numbers
        together = x[:, x.shape[1] - size :] if numbers == 2 else x[:, :size]
        return together.reshape(1, -1, numbers, 2).sum(2)
    return x[:, numbers:] + x[:, : x.shape[1] - numbers]


MOVING = draw(4, 2, 2) / 2


def test_random_programs_stream_or_are_refused(long):
    """Whatever is not refused has the outputs of the whole signal."""
    streamed = []

    @hypothesis.given(st.lists(moves(), min_size=1, max_size=6), st.integers(1, 5))
    @hypothesis.settings(max_examples=1000 if long else 4)
    def check(program, size):
        def function(x):
            return functools.reduce(lambda y, move: moved(y, *move), program, x)

        x = draw(1, 72, 2)
        try:
            streaming = stream(function, x)
        except ValueError as error:
            assert "function" in str(error)
            return
        x = x[:, : 72 // streaming.multiple * streaming.multiple]
        hypothesis.assume(x.shape[1] and jax.eval_shape(function, x).size)
        assert_streams(function, x, sizes=(size,))
        streamed.append(program)

    check()
    assert streamed
