"""Calls of an accelerated function: what goes in and comes out, what it reads, bad use."""

import functools

import cloudpickle
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


class Layer:
    """An object that holds an array."""

    def __init__(self, kernel):
        self.kernel = kernel

    def __call__(self, x):
        return conv(x, self.kernel)


@pytest.mark.parametrize("array", [jnp.array, np.array], ids=["jax", "numpy"])
@pytest.mark.parametrize("given", ["closed over", "attribute", "argument"])
def test_no_old_value_is_used(operands, array, given):
    x, kernel = operands
    layer, held = Layer(array(kernel)), {"kernel": array(kernel)}
    fast = {
        "closed over": dilax.accelerate(lambda x, layer: conv(x, held["kernel"])),
        "attribute": dilax.accelerate(lambda x, _: layer(x)),
        "argument": dilax.accelerate(lambda x, layer: layer(x)),
    }[given]
    call = functools.partial(fast, x, layer)
    close(call(), conv(x, kernel))
    for holder in (layer.__dict__, held):
        if array is np.array:
            holder["kernel"] *= 2
        else:
            holder["kernel"] = 2 * holder["kernel"]
    close(call(), conv(x, 2 * kernel))


def test_tracers_closed_over(operands):
    x, kernel = operands
    held = {"kernel": kernel}
    fast = dilax.accelerate(lambda x: conv(x, held["kernel"]))
    slope = jax.grad(lambda kernel: jnp.sum(held.update(kernel=kernel) or fast(x)))(kernel)
    close(slope, jax.grad(lambda kernel: jnp.sum(conv(x, kernel)))(kernel))


def test_nothing_is_compiled_anew_for_another_number(operands, caplog):
    x, kernel = operands
    fast = dilax.accelerate(lambda x, scale: scale * conv(x, kernel))
    y = fast(x, 1.0)
    with jax.log_compiles():
        results = [fast(x, scale) for scale in (0.0, 0.25, 3.0)]
    assert not [record for record in caplog.records if "Compiling" in record.message]
    for result, scale in zip(results, (0.0, 0.25, 3.0), strict=True):
        close(result, scale * y)


@pytest.mark.parametrize(
    "value",
    [np.arange(3), np.int64(2) ** 40, np.array(["a"]), "text", jnp.arange(3), None],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_computed_is_returned_as_it_is(value):
    for function in (lambda value, x: (value, 2 * x), lambda _, x: (value, 2 * x)):
        result, _ = dilax.accelerate(function)(value, jnp.ones(2))
        assert type(result) is type(value)
        assert getattr(result, "dtype", None) == getattr(value, "dtype", None)
        np.testing.assert_array_equal(result, value)


def test_arrays_stay_on_their_devices(operands):
    x, kernel = operands
    one, other = jax.devices()[:2]

    def two_devices(x, kernels):
        return conv(x, kernels[0]), conv(jax.device_put(x, other), kernels[1])

    kernels = [jax.device_put(kernel, one), jax.device_put(kernel, other)]
    results = dilax.accelerate(two_devices)(jax.device_put(x, one), kernels)
    assert [result.devices() for result in results] == [{one}, {other}]
    jax.tree.map(close, results, two_devices(jax.device_put(x, one), kernels))


def test_donated_arguments_are_donated(operands):
    x, kernel = operands
    step = jax.jit(lambda x, kernel: x + conv(x, kernel).sum(), donate_argnums=0)
    for transform in (lambda f: f, dilax.accelerate):
        given = jnp.array(x)
        transform(step)(given, kernel)
        assert given.is_deleted()


@jax.tree_util.register_pytree_node_class
class Checked:
    """A node that refuses leaves that are not arrays, and any static field but text."""

    def __init__(self, array, text):
        assert hasattr(array, "shape") and isinstance(text, str)
        self.array, self.text = array, text

    def tree_flatten(self):
        """Hold the array as a leaf."""
        return (self.array,), self.text

    @classmethod
    def tree_unflatten(cls, text, leaves):
        """Check again."""
        return cls(*leaves, text)


def test_nodes_that_check_their_leaves(operands):
    x, kernel = operands
    fast = dilax.accelerate(lambda node: Checked(conv(x, node.array), node.text))
    result = fast(Checked(kernel, "kernel"))
    close(result.array, conv(x, kernel))
    assert result.text == "kernel"


def test_accelerated_functions_can_be_pickled(operands):
    x, kernel = operands
    fast = dilax.accelerate(conv)
    fast(x, kernel)
    close(cloudpickle.loads(cloudpickle.dumps(fast))(x, kernel), conv(x, kernel))


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
        with pytest.warns(UserWarning, match="branching is not accelerated.*TracerBool"):
            result = dilax.accelerate(branching)(sign * x, kernel)
        np.testing.assert_array_equal(result, branching(sign * x, kernel))


def test_a_function_that_is_returned_holds_no_tracer(operands):
    x, kernel = operands

    def partial(x):
        y = conv(x, kernel)
        return lambda scale: scale * y

    with pytest.warns(UserWarning, match="partial is not accelerated.*it returns a function"):
        scaled = dilax.accelerate(partial)(x)
    close(scaled(2), 2 * conv(x, kernel))


def test_control_flow_on_numpy_arrays_is_traced(operands):
    x, kernel = (np.array(operand) for operand in operands)
    np.testing.assert_array_equal(dilax.accelerate(branching)(x, kernel), branching(x, kernel))
    result = dilax.accelerate(lambda x: float(x[0]) + np.asarray(x).size)(np.ones(3))
    assert result == 4.0 and type(result) is float


@pytest.mark.parametrize("array", [jnp.array, np.array], ids=["jax", "numpy"])
def test_arguments_changed_in_place_are_changed_once(operands, array):
    x, kernel = operands

    def doubling(kept):
        kept["kernel"] *= 2
        return conv(x, kept["kernel"])

    kept = {"kernel": array(kernel)}
    with pytest.warns(UserWarning, match="doubling is not accelerated"):
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
