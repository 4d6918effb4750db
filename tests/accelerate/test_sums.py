"""Sums in derivatives of normalisation: rewritten where they are equal, and left where not."""

import chex
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from hypothesis import strategies as st

import dilax
from dilax._jaxprs import inner_programs, opened
from tests.accelerate.programs import operations

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

SUM, DIFFERENCE = "dilax_scaled_sum", "dilax_scaled_difference"


def written_out(params, x):
    """Batch normalisation by lax, with statistics that are broadcast by hand."""
    scale, bias = params
    mean = jnp.sum(x, (0, 1, 2), keepdims=True) / x[..., 0].size
    var = jnp.sum(x * x, (0, 1, 2), keepdims=True) / x[..., 0].size - mean * mean
    gain = jax.lax.rsqrt(var + 1e-5) * scale[None, None, None]
    whole = (jnp.broadcast_to(part, x.shape) for part in (mean, gain, bias[None, None, None]))
    mean, gain, bias = whole
    return (x - mean) * gain + bias


def divided(params, x):
    """Batch normalisation with a quotient, as Equinox writes it."""
    scale, bias = (param[None, None, None] for param in params)
    mean = x.mean((0, 1, 2), keepdims=True)
    var = (x * x).mean((0, 1, 2), keepdims=True) - mean * mean
    return (x - mean) / jnp.sqrt(var + 1e-5) * scale + bias


def of_nnx(params, x):
    module = nnx.BatchNorm(3, rngs=nnx.Rngs(0))
    module.scale[...], module.bias[...] = params
    return module(x)


def of_linen(params, x):
    module = linen.BatchNorm(use_running_average=False)
    variables = {"params": dict(zip(("scale", "bias"), params, strict=True))}
    statistics = {"mean": jnp.zeros(3), "var": jnp.ones(3)}
    given = {**variables, "batch_stats": statistics}
    return module.apply(given, x, mutable=["batch_stats"])[0]


def of_haiku(params, x):
    import haiku as hk

    def network(x):
        return hk.BatchNorm(True, True, 0.9)(x, is_training=True)

    network = hk.transform_with_state(network)
    _, state = network.init(None, x)
    wide = (param[None, None, None] for param in params)
    named = {"batch_norm": dict(zip(("scale", "offset"), wide, strict=True))}
    return network.apply(named, state, None, x)[0]


LAYERS = [written_out, divided, of_nnx, of_linen, of_haiku]


def loss_of(layer):
    def loss(params, x, weights):
        return jnp.vdot(jax.nn.relu(layer(params, x)), weights)

    return loss


def arguments(key):
    keys = jax.random.split(key, 4)
    params = tuple(jax.random.uniform(one, 3) + 0.5 for one in keys[:2])
    return params, *(2 + jax.random.normal(one, (4, 5, 5, 3)) for one in keys[2:])


@pytest.mark.parametrize("layer", LAYERS)
def test_derivatives_of_normalisation_are_those_of_stock_jax(key, layer):
    pytest.importorskip("haiku")
    loss, given = loss_of(layer), arguments(key)
    expected = jax.value_and_grad(loss, (0, 1))(*given)
    for function in (
        dilax.accelerate(jax.value_and_grad(loss, (0, 1))),
        jax.value_and_grad(dilax.accelerate(loss), (0, 1)),
    ):
        chex.assert_trees_all_close(function(*given), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer", LAYERS)
def test_normalisation_of_every_library_is_recognised(key, layer):
    pytest.importorskip("haiku")
    loss, given = loss_of(layer), arguments(key)
    outside = operations(dilax.accelerate(jax.grad(loss, (0, 1))), *given)
    assert outside[SUM] >= 1
    if layer is not divided:  # a quotient of two steps
        assert operations(dilax.accelerate(loss), *given)[DIFFERENCE] >= 1


def different_sums(program, size):
    """Arrays of a size that are summed, each of them once, as XLA sums equal ones once."""
    summed = set()
    for equation in opened(program).eqns:
        if equation.primitive.name == "reduce_sum" and equation.invars[0].aval.size == size:
            summed.add(equation.invars[0])
        for inner in inner_programs(equation):
            for operand in different_sums(inner, size):
                places = dict(zip(opened(inner).invars, equation.invars, strict=False))
                summed.add(places.get(operand, operand))
    return summed


@pytest.mark.parametrize("layer", [of_nnx, of_linen])
def test_the_derivative_sums_two_arrays_beside_the_two_of_the_statistics(key, layer):
    loss, given = loss_of(layer), arguments(key)
    size = given[1].size
    stock = jax.grad(loss, (0, 1))
    assert len(different_sums(jax.make_jaxpr(stock)(*given), size)) == 5
    assert len(different_sums(jax.make_jaxpr(dilax.accelerate(stock))(*given), size)) == 4
    inside = jax.grad(dilax.accelerate(loss), (0, 1))
    assert len(different_sums(jax.make_jaxpr(inside)(*given), size)) == 4


@pytest.mark.parametrize("layer", [written_out, of_nnx])
def test_second_derivatives_and_tangents_are_those_of_stock_jax(key, layer):
    (params, x, weights), loss = arguments(key), loss_of(lambda *given: jnp.sin(layer(*given)))

    def slope(function, params, x):
        gradient = jax.grad(function, (0, 1))
        along = jax.tree.map(jnp.cos, (params, x))
        return jax.jvp(lambda *given: gradient(*given, weights), (params, x), along)

    stock, ours = (slope(f, params, x) for f in (loss, dilax.accelerate(loss)))
    chex.assert_trees_all_close(ours, stock, rtol=1e-3, atol=1e-3)
    outside = dilax.accelerate(lambda *given: slope(loss, *given))(params, x)
    chex.assert_trees_all_close(outside, stock, rtol=1e-3, atol=1e-3)


def test_values_are_computed_as_before_to_the_last_bit(key):
    """A value far from zero keeps all bits of its difference from the mean."""
    params, x, _ = arguments(key)
    far = 1e5 + jnp.round(x * 8) / 8
    expected = jax.jit(of_nnx)(params, far)
    np.testing.assert_array_equal(jax.jit(dilax.accelerate(of_nnx))(params, far), expected)


LEFT = {
    "a difference from what is no mean": lambda x, m: (x - m) * 2 * m,
    "a mean of another array": lambda x, m: (x - jnp.sin(x).mean(0, keepdims=True)) * m,
    "a factor for each entry": lambda x, m: jnp.sum(x * jnp.sin(x), 0),
    "a factor that varies along the sum": lambda x, m: jnp.sum(x * x[:, :1], 0),
    "an integer": lambda x, m: jnp.sum(x.astype(int) * m.astype(int), 0),
    "half precision": lambda x, m: jnp.sum(x.astype(jnp.float16) * m.astype(jnp.float16), 0),
    "a number": lambda x, m: jnp.sum(3 * x, 0),
}


@pytest.mark.parametrize("function", LEFT.values(), ids=LEFT)
def test_what_would_not_be_equal_or_no_faster_is_left(key, function):
    x, m = jax.random.normal(key, (4, 3)), jnp.ones((1, 3))
    found = operations(dilax.accelerate(function), x, m)
    assert not found[SUM] + found[DIFFERENCE]


def test_nothing_is_rearranged_where_dilax_uses_lax(key):
    gradient = jax.grad(loss_of(of_nnx))
    with dilax.using(dilax.algorithms.lax):
        assert not operations(dilax.accelerate(gradient), *arguments(key))[SUM]


@st.composite
def scaled_sums(draw):
    """The sum of a product or quotient over some axes, with a factor that does not vary there."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    axes = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    sizes = [1 if axis in axes or draw(st.booleans()) else size for axis, size in enumerate(shape)]
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    whole, factor = (jnp.asarray(rng.uniform(0.5, 2, s), jnp.float32) for s in (shape, sizes))
    broadcast, negated = draw(st.booleans()), draw(st.booleans())
    operation = draw(st.sampled_from([jnp.multiply, jnp.divide, lambda a, b: b * a]))

    def function(whole, factor):
        spread = jnp.broadcast_to(factor, whole.shape) if broadcast else factor
        product = operation(whole, spread)
        return jnp.sum(-product if negated else product, tuple(axes))

    return function, (whole, factor)


def test_any_sum_of_a_scaled_array_is_equal(long):
    @hypothesis.settings(max_examples=500 if long else 8)
    @hypothesis.given(scaled_sums())
    def check(program):
        function, given = program
        ours, stock = dilax.accelerate(function), function
        chex.assert_trees_all_close(ours(*given), stock(*given), rtol=1e-5, atol=1e-5)
        both = (jax.jacrev(f, (0, 1))(*given) for f in (ours, stock))
        chex.assert_trees_all_close(*both, rtol=1e-5, atol=1e-5)

    check()
