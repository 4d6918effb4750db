"""``explain``: the operations that it finds, their places, and its text."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.sharding import PartitionSpec

import dilax

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

X = jax.ShapeDtypeStruct((2, 6, 5, 3), jnp.float32)
KERNEL = jax.ShapeDtypeStruct((3, 3, 1, 3), jnp.float32)


def conv(x, kernel):
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        feature_group_count=x.shape[-1],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def network(x, kernel):
    y = jax.jit(conv)(x, kernel)
    y, _ = lax.scan(lambda y, _: (jax.checkpoint(conv)(y, kernel), None), y, None, length=2)
    y = lax.reduce_window(y, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return lax.reduce_window(y, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "VALID")


def test_findings_say_where_what_and_how():
    findings = dilax.explain(network, X, KERNEL).findings
    assert [finding.where for finding in findings] == ["jit(conv)", "scan/remat2", "", ""]
    first, _, largest, mean = findings
    assert first.primitive == "conv_general_dilated"
    assert first.operands == (X.shape, KERNEL.shape)
    assert first.result == (2, 6, 5, 3)
    assert first.dtype == "float32"
    assert first.replaced
    assert "test_explain.py:" in first.source
    if jax.default_backend() == "cpu":
        assert dict(first.passes)["conv"] == "shift_and_add"
        assert largest.passes == (("pool", "fold"),)
    assert not mean.replaced
    assert mean.reason == "only pools of the largest entry are folded"


def test_as_text_it_is_a_table():
    lines = str(dilax.explain(network, X, kernel=KERNEL)).splitlines()
    assert lines[0].split() == ["where", "operation", "shapes", "type", "becomes", "source"]
    column = lines[0].index("becomes")
    assert lines[2][column:].startswith("conv: ")
    assert lines[5][column:].startswith("left: only pools")
    assert "2x6x5x3, 3x3x1x3 -> 2x6x5x3" in lines[2]
    assert lines[-1] == "3 of 4 replaced"


def test_nothing_is_computed():
    """Arrays of this size would not fit."""
    huge = jax.ShapeDtypeStruct((2**20, 2**10, 2**10, 3), jnp.float32)
    assert dilax.explain(conv, huge, KERNEL).findings[0].replaced


@pytest.mark.parametrize(
    ("dtype", "algorithm"),
    [("float32", "im2col"), ("bfloat16", "per_group"), ("float16", "per_group")],
)
def test_the_type_of_the_arrays_is_part_of_the_choice(dtype, algorithm):
    layout = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}

    def loss(kernel, x):
        return jnp.sum(jnp.sin(lax.conv_general_dilated(x, kernel, (1, 1), "SAME", **layout)))

    kernel, x = jnp.ones((3, 3, 32, 32), dtype), jnp.ones((16, 32, 32, 32), dtype)
    findings = dilax.explain(jax.grad(loss), kernel, x).findings
    assert ("kernel_gradient", algorithm) in findings[-1].passes


def test_nothing_found():
    assert str(dilax.explain(jnp.sin, jnp.ones(3))) == "no convolution and no pool found"


def test_what_cannot_be_traced_is_said():
    explanation = dilax.explain(lambda x: x if x > 0 else -x, 1 * jnp.ones(()))
    assert explanation.findings == ()
    assert "TracerBoolConversionError" in explanation.untraceable
    assert str(explanation).startswith("called as it is, for it cannot be traced: Tracer")


def test_bodies_that_are_not_looked_into_are_listed():
    mesh = jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = PartitionSpec("i")
    mapped = jax.shard_map(conv, mesh=mesh, in_specs=(spec, PartitionSpec()), out_specs=spec)
    (finding,) = dilax.explain(mapped, X, KERNEL).findings
    assert finding.where == "shard_map"
    assert finding.reason == "in a body that is not looked into"


@pytest.mark.parametrize("field", ["where", "reason"])
def test_findings_do_not_change(field):
    (finding,) = dilax.explain(conv, X, KERNEL).findings
    with pytest.raises(AttributeError):
        setattr(finding, field, "another")
