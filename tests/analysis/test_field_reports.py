"""What a receptive field says beside its numbers: names of layers, assumptions, errors."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import dilax
from dilax.analysis import receptive_field
from tests.analysis.test_fields import X, linen_network, numbers

pytestmark = pytest.mark.usefixtures("compile_quickly")
HERE = r"test_field_reports\.py:\d+"
HEAD = ["array", "shape", "input axis", "size", "stride", "start", "padding"]


def test_layers_are_named():
    names = [layer.title for layer in receptive_field(linen_network(), X).layers]
    assert names[0].split("/")[-1] == "stem"

    def network(x):
        with jax.named_scope("encoder"):
            x = dilax.conv(x, jnp.ones((3, 3, 2, 2)))
        return dilax.conv(x, jnp.ones((3, 3, 2, 2)), kernel_dilation=2)

    found = receptive_field(network, X)
    assert [layer.name for layer in found.layers] == ["encoder", ""]
    assert found.layers[1].source.startswith("test_field_reports.py:")
    head, first, *_, last = str(found).splitlines()
    assert re.split("  +", head) == HEAD
    assert first.split() == ["encoder", "(1,", "40,", "36,", "2)", "1", "3", "1", "-1", "(1,", "1)"]
    assert last.split()[5:9] == ["2", "7", "1", "-3"]


def test_what_is_assumed_is_said():
    found = receptive_field(
        lambda x: lax.dynamic_slice_in_dim(x, x[0, 0, 0, 0].astype(int), 3, 1), X
    )
    assert found.outputs[0].interval(0, 0, 0, 0)[0] == (0, 39)
    said, uneven = found.assumptions
    assert "size is the largest of theirs and stride the mean" in uneven  # column i sees 0 and i
    assert said.startswith("dynamic_slice at test_field_reports.py:")
    assert "whole axis 1 assumed, because its indices cannot be followed" in said

    def until(x):
        return lax.while_loop(
            lambda x: x.sum() < 9, lambda x: dilax.conv(x, jnp.ones((3, 3, 2, 2))), x
        )

    found = receptive_field(until, X)
    assert numbers(found.outputs[0]) == [(40, 0, 0), (36, 0, 0)]
    assert "it is unknown how often the loop runs" in found.assumptions[0]

    over_rows = receptive_field(
        lambda x: lax.scan(lambda c, row: (c + row, c), x[:, 0], x.swapaxes(0, 1))[1], X
    )
    assert "whole axis 0 assumed, because the loop runs over it" in over_rows.assumptions[0]
    over_images = receptive_field(lambda x: lax.map(lambda image: image[::2], x), X)
    assert not over_images.assumptions


def test_errors():
    with pytest.raises(ValueError, match=r"gives an output\[1\] that does not depend on x"):
        receptive_field(lambda x: (x, jnp.ones(3)), X)
    with pytest.raises(ValueError, match=f"applies pure_callback at {HERE} .*Analyse"):
        receptive_field(lambda x: jax.pure_callback(lambda x: x, X, x), X)
    with pytest.raises(ValueError, match=f"traced: at {HERE} .* a Python branch"):
        receptive_field(lambda x: x[x > 0], X)
    with pytest.raises(ValueError, match=f"traced: at {HERE} .* a Python branch"):
        receptive_field(lambda x: x if x.sum() > 0 else -x, X)
    with pytest.raises(ValueError, match=r"axes must be .* of the 4 axes of x, got \(4,\)"):
        receptive_field(lambda x: x, X, axes=(4,))
    with pytest.raises(ValueError, match=r"axes must be at least one .* got \(\)"):
        receptive_field(lambda x: x, jax.ShapeDtypeStruct((3, 4), jnp.float32))
    with pytest.raises(ValueError, match=r"position must have one index for each axis .* got 2"):
        receptive_field(lambda x: x, X).outputs[0].interval(0, 0)


def test_axes_and_positions_of_numpy():
    (found,) = receptive_field(lambda x: x[:, ::2], X, axes=np.array([1])).outputs
    assert found.interval(*np.array([0, 3, 0, 0])) == ((6, 6),)
