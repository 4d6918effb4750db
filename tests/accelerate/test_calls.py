"""Calls of an accelerated function: what goes in and comes out, when it is traced, bad use."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import io_callback
from jax.sharding import PartitionSpec

import dilax
from tests.accelerate.programs import conv, gradient, operations, pooled

pytestmark = pytest.mark.usefixtures("compile_quickly")
close = functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-10)


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
