"""The transformation around whole programs: every construct of JAX, on either side, and bad use."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import io_callback
from jax.sharding import PartitionSpec

import dilax
from tests import cases
from tests.rewriting.programs import operations

pytestmark = pytest.mark.usefixtures("compile_quickly")
close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)


@pytest.fixture
def operands(double):
    x, kernel = cases.draw((2, 6, 5, 3), (2, 3, 1, 6), seed=3)
    return jnp.asarray(x), jnp.asarray(kernel)


def conv(x, kernel):
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 2),
        ((1, 0), (2, 1)),
        rhs_dilation=(2, 1),
        feature_group_count=3,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def pooled(x, kernel):
    y = conv(x, kernel)
    return lax.reduce_window(
        y, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 2, 1), ((0, 0), (1, 0), (0, 0), (0, 0))
    )


# --- what a program may be made of ----------------------------------------------------------------


def in_scan(x, kernel):
    def step(carry, scale):
        y = conv(x * carry, kernel)
        return carry + jnp.mean(y), y * scale

    return lax.scan(step, 1.0, jnp.arange(1.0, 4.0))


def in_while(x, kernel):
    def body(state):
        count, total = state
        return count + 1, total + jnp.sum(conv(x * count, kernel))

    return lax.while_loop(lambda state: jnp.sum(conv(x, kernel)) * 0 + state[0] < 3, body, (0, 0.0))


def in_fori(x, kernel):
    zeros = jnp.zeros(conv(x, kernel).shape)
    return lax.fori_loop(0, 3, lambda place, y: y + conv(x + place, kernel), zeros)


def in_cond(x, kernel):
    return lax.cond(x[0, 0, 0, 0] > 0, conv, lambda x, kernel: conv(-x, kernel), x, kernel)


def in_switch(x, kernel):
    return lax.switch(1, [pooled, lambda x, kernel: pooled(2 * x, kernel)], x, kernel)


@jax.custom_jvp
def with_jvp(x, kernel):
    return conv(x, kernel)


@with_jvp.defjvp
def with_jvp_rule(primals, tangents):
    """A rule that nothing but itself would give."""
    (x, kernel), (x_dot, kernel_dot) = primals, tangents
    return conv(x, kernel), 3 * conv(x_dot, kernel) + conv(x, kernel_dot)


@jax.custom_vjp
def with_vjp(x, kernel):
    return conv(x, kernel)


def with_vjp_forward(x, kernel):
    return conv(x, kernel), (x, kernel)


def with_vjp_backward(residuals, cotangent):
    return jax.vjp(conv, *residuals)[1](5 * cotangent)


with_vjp.defvjp(with_vjp_forward, with_vjp_backward)


def nested(x, kernel):
    """A custom rule in a jit in a checkpoint in a scan."""

    @jax.checkpoint
    def body(carry, scale):
        y = jax.jit(with_vjp)(x * scale, kernel) + with_jvp(x, kernel * carry)
        return carry + jnp.mean(y), jnp.sum(y)

    return lax.scan(body, 0.5, jnp.arange(1.0, 3.0))


def scoped(x, kernel):
    with jax.named_scope("somewhere"):
        unused = conv(x, kernel * 2)
        del unused
        return conv(x, kernel) + np.ones((1, 1, 1, 1))


PROGRAMS = {
    "plain": conv,
    "pool": pooled,
    "jit": jax.jit(conv),
    "checkpoint": jax.checkpoint(pooled),
    "scan": in_scan,
    "fori": in_fori,
    "cond": in_cond,
    "switch": in_switch,
    "custom_jvp": with_jvp,
    "custom_vjp": with_vjp,
    "nested": nested,
    "scoped": scoped,
}


def loss_of(f):
    return lambda *operands: sum(jnp.sum(jnp.sin(y)) for y in jax.tree.leaves(f(*operands)))


def gradient(f):
    return jax.value_and_grad(loss_of(f), (0, 1))


def batched(f):
    return lambda x, kernel: jax.vmap(f, (0, None))(jnp.stack([x, 2 - x, x**2]), kernel)


def pushed(f):
    return lambda x, kernel: jax.jvp(f, (x, kernel), (jnp.cos(x), jnp.sin(kernel)))


TRANSFORMATIONS = {
    "value": lambda f: f,
    "grad": gradient,
    "vmap": batched,
    "vmap of grad": lambda f: batched(gradient(f)),
    "grad of vmap": lambda f: gradient(batched(f)),
}


@functools.cache
def expected(program: str, transformation: str):
    x, kernel = cases.draw((2, 6, 5, 3), (2, 3, 1, 6), seed=3)
    return jax.jit(TRANSFORMATIONS[transformation](PROGRAMS[program]))(x, kernel)


PAIRS = [(program, name) for program in PROGRAMS for name in ("value", "grad")]
PAIRS += [(program, name) for program in ("plain", "pool", "nested") for name in TRANSFORMATIONS]


@pytest.mark.parametrize(("program", "transformation"), dict.fromkeys(PAIRS))
def test_on_either_side_of_a_transformation(program, transformation, operands):
    transform, f = TRANSFORMATIONS[transformation], PROGRAMS[program]
    for fast in (jax.jit(dilax.accelerate(transform(f))), transform(dilax.accelerate(f))):
        jax.tree.map(close, fast(*operands), expected(program, transformation))
        left = operations(fast, *operands)
        assert not {"conv_general_dilated", "select_and_scatter_add"} & left.keys()


FORWARD = [name for name in PROGRAMS if "vjp" not in name and name != "nested"]


@pytest.mark.parametrize("program", FORWARD)
def test_forward_mode(program, operands):
    f = PROGRAMS[program]
    for fast in (dilax.accelerate(pushed(f)), pushed(dilax.accelerate(f))):
        jax.tree.map(close, jax.jit(fast)(*operands), jax.jit(pushed(f))(*operands))


def test_while_loops(operands):
    fast = dilax.accelerate(in_while)
    jax.tree.map(close, fast(*operands), in_while(*operands))
    assert operations(fast, *operands)["dilax_conv_general_dilated"] == 2


def test_second_order(operands):
    def curvature(f, x, kernel):
        return jax.jvp(jax.grad(loss_of(f), 1), (x, kernel), (x, kernel))[1]

    want = curvature(pooled, *operands)
    close(dilax.accelerate(functools.partial(curvature, pooled))(*operands), want)
    close(curvature(dilax.accelerate(pooled), *operands), want)


def test_inside_the_body_of_a_scan(operands):
    x, kernel = operands

    def through(f):
        return lax.scan(lambda carry, _: (carry, f(carry, kernel)), x, None, length=2)[1]

    close(through(jax.jit(dilax.accelerate(conv))), through(conv))


def test_accelerating_twice_changes_nothing(operands):
    once = dilax.accelerate(gradient(pooled))
    twice = dilax.accelerate(once)
    assert operations(twice, *operands) == operations(once, *operands)


def test_dead_results_and_shared_equations_keep_their_types(operands):
    """The rewritten program passes JAX's own check of programs."""
    for f in PROGRAMS.values():
        with jax.enable_checks(True):
            jax.make_jaxpr(dilax.accelerate(gradient(f)))(*operands)


def test_a_custom_rule_of_zeros_and_integers(operands):
    """A backward rule may give None, and a forward rule may keep what is no float."""
    x, kernel = operands

    @jax.custom_vjp
    def scaled(x, kernel, count):
        return conv(x, kernel) * count

    scaled.defvjp(
        lambda x, kernel, count: (scaled(x, kernel, count), (x, kernel, count)),
        lambda kept, g: (jax.vjp(conv, *kept[:2])[1](g * kept[2])[0], None, None),
    )
    slope = jax.grad(lambda x: jnp.sum(dilax.accelerate(scaled)(x, kernel, 3) ** 2))(x)
    close(slope, jax.grad(lambda x: jnp.sum(scaled(x, kernel, 3) ** 2))(x))


# --- arguments and results ------------------------------------------------------------------------


def test_trees_keywords_and_what_is_no_array(operands):
    x, kernel = operands

    def network(params, x, *, train, name="net", activation=jnp.tanh):
        y = activation(conv(x, params["kernel"]))
        return {"y": 2 * y if train else y, "name": name, "train": train, "nothing": None}

    fast = dilax.accelerate(network)
    for arguments in ({"train": True}, {"train": False, "name": "other"}, {"train": 1}):
        result = fast({"kernel": kernel}, x, **arguments)
        wanted = network({"kernel": kernel}, x, **arguments)
        close(result.pop("y"), wanted.pop("y"))
        assert result == wanted
        assert type(result["train"]) is type(wanted["train"])


def test_equal_arguments_of_other_types_are_not_confused():
    fast = dilax.accelerate(lambda value: repr(value))
    values = (1, 1.0, True, 0.0, -0.0, 1 + 0j)
    assert [fast(value) for value in values] == [repr(value) for value in values]


def test_weak_types_are_kept():
    def scaled(x):
        return x * 2, jnp.sum(x)

    for argument in (jnp.ones(3), jnp.asarray(2.0)):
        types = [jax.tree.map(jax.typeof, f(argument)) for f in (scaled, dilax.accelerate(scaled))]
        assert types[0] == types[1]
    assert jax.typeof(jnp.asarray(2.0)).weak_type


def test_name_and_documentation_are_kept():
    def network(x):
        """Say something."""
        return x

    assert dilax.accelerate(network).__name__ == "network"
    assert dilax.accelerate(network).__doc__ == "Say something."


# --- calls outside of jit -------------------------------------------------------------------------


def traced(f):
    """The function, and a list that grows by one with every run of its Python code."""
    calls = []

    @functools.wraps(f)
    def counted(*args, **kwargs):
        calls.append(1)
        return f(*args, **kwargs)

    return counted, calls


def test_a_second_call_does_not_trace_again(operands):
    x, kernel = operands
    counted, calls = traced(conv)
    fast = dilax.accelerate(counted)
    for _ in range(3):
        fast(x, kernel)
    assert len(calls) == 1
    fast(x[:1], kernel)
    assert len(calls) == 2


def test_arrays_closed_over_are_read_anew(operands):
    x, kernel = operands
    held = {"kernel": kernel}
    fast = dilax.accelerate(lambda x: conv(x, held["kernel"]))
    close(fast(x), conv(x, kernel))
    held["kernel"] = 2 * kernel
    close(fast(x), conv(x, 2 * kernel))
    held["kernel"] = kernel
    slope = jax.grad(lambda kernel: jnp.sum(held.update(kernel=kernel) or fast(x)))(kernel)
    close(slope, jax.grad(lambda kernel: jnp.sum(conv(x, kernel)))(kernel))


def test_effects_happen_once_and_in_order(operands):
    seen = []

    def note(value):
        io_callback(lambda value: seen.append(float(value)), None, value, ordered=True)

    def noisy(x, kernel):
        note(-1.0)
        y = conv(x, kernel)
        note(y[0, 0, 0, 0])
        lax.fori_loop(0, 2, lambda place, _: note(place), None)
        return y

    y = dilax.accelerate(noisy)(*operands)
    jax.effects_barrier()
    assert seen == [-1, y[0, 0, 0, 0], 0, 1]


# --- bad use --------------------------------------------------------------------------------------


def branching(x, kernel):
    return conv(x, kernel) if x[0, 0, 0, 0] > 0 else conv(-x, kernel)


def test_what_cannot_be_traced_is_called_as_it_is(operands):
    x, kernel = operands
    for sign in (1, -1):
        np.testing.assert_array_equal(
            dilax.accelerate(branching)(sign * x, kernel), branching(sign * x, kernel)
        )
    result = dilax.accelerate(lambda x: float(x[0]) + np.asarray(x).size)(np.ones(3))
    assert result == 4.0 and type(result) is float


def test_arguments_changed_in_place_are_changed(operands):
    x, kernel = operands

    def doubling(kept):
        kept["kernel"] = 2 * kept["kernel"]
        return conv(x, kept["kernel"])

    kept = {"kernel": kernel}
    close(dilax.accelerate(doubling)(kept), conv(x, 2 * kernel))
    close(kept["kernel"], 2 * kernel)


def test_unhashable_arguments_are_handed_on():
    assert dilax.accelerate(lambda x: len(x))({1, 2}) == 2


def test_errors_are_those_of_the_function(operands):
    x, kernel = operands
    with pytest.raises(ValueError, match="feature_group_count") as theirs:
        conv(x[..., :2], kernel)
    with pytest.raises(type(theirs.value)) as ours:
        dilax.accelerate(conv)(x[..., :2], kernel)
    assert str(ours.value) == str(theirs.value)
    assert ours.value.__cause__ is None


def test_a_failure_at_run_time_does_not_run_the_function_again():
    calls = []

    def fail():
        calls.append(1)
        raise RuntimeError("at run time")

    def failing(x):
        io_callback(fail, None, ordered=True)
        return x + 1

    with pytest.raises(Exception, match="at run time"):
        jax.block_until_ready(dilax.accelerate(failing)(jnp.ones(2)))
        jax.effects_barrier()
    assert calls == [1]


def test_an_unknown_primitive_is_bound_as_it_was(operands):
    primitive = jax.extend.core.Primitive("unknown")
    primitive.def_abstract_eval(lambda x, *, body: x)
    x, kernel = operands
    body = jax.make_jaxpr(conv)(x, kernel)

    def program(x, kernel):
        return primitive.bind(conv(x, kernel), body=body)

    expected = operations(program, x, kernel)
    assert expected["unknown"] == expected["conv_general_dilated"] - 1 == 1
    found = operations(dilax.accelerate(program), x, kernel)
    replaced = {"unknown": 1, "conv_general_dilated": 1, "dilax_conv_general_dilated": 1}
    assert found == replaced, "the body of the unknown is as it was"


def mesh():
    return jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))


def test_the_body_of_a_shard_map_is_left_but_may_hold_an_acceleration(operands):
    specs = {"in_specs": (PartitionSpec("i"), PartitionSpec()), "out_specs": PartitionSpec("i")}
    mapped = jax.shard_map(conv, mesh=mesh(), **specs)
    close(jax.jit(dilax.accelerate(mapped))(*operands), conv(*operands))
    assert operations(dilax.accelerate(mapped), *operands)["conv_general_dilated"] == 1
    inside = jax.shard_map(dilax.accelerate(pooled), mesh=mesh(), **specs)
    assert not operations(inside, *operands)["conv_general_dilated"]
    close(jax.jit(inside)(*operands), pooled(*operands))
    jax.tree.map(close, jax.jit(gradient(inside))(*operands), gradient(pooled)(*operands))
