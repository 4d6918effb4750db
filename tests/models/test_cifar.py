"""The CIFAR networks: shapes, and parameters, multiply-adds and fields as their docstrings say."""

import re

import chex
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from dilax import models
from dilax.analysis import Layer, coverage, receptive_field
from dilax.models._context import ContextModule
from dilax.models._registry import MODELS
from dilax.models._tiniest import GatedBlock
from dilax.training import functional
from tests.models import abstract

NAMES = [name for name in models.list_models() if not name.startswith("mnist_")]
LARGE = ("vgg16_dilated",)  # computed in a test of its own, in a narrow form


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LARGE])
def test_images_to_logits(name, key, compile_quickly):
    def run(key):
        network = models.create(name, rngs=nnx.Rngs(key))
        network.eval()
        return network(jax.random.normal(key, (3, 32, 32, 3)))

    logits = jax.jit(run)(key)
    chex.assert_shape(logits, (3, 10))
    chex.assert_tree_all_finite(logits)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_fits_its_parameters_and_statistics(name):
    apply, params, statistics = functional(abstract.shapes(name, classes=100))

    def loss(params, statistics, images):
        logits, moved = apply(params, statistics, images, train=True)
        return logits.sum(), moved

    slope = jax.grad(loss, has_aux=True)
    slopes, moved = jax.eval_shape(slope, params, statistics, abstract.IMAGE)
    chex.assert_trees_all_equal_shapes_and_dtypes(slopes, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(moved, statistics)


@pytest.mark.parametrize("name", NAMES)
def test_docstring_states_the_counts(name):
    text = " ".join(MODELS[name].__doc__.split())
    stated = [
        int(re.search(pattern, text)[1].replace(",", ""))
        for pattern in (
            r"([\d,]+) parameters",
            r"([\d,]+) multiply-adds",
            r"receptive field of the convolutions (\d+)",
        )
    ]
    assert list(abstract.counts(name)) == stated


@pytest.mark.parametrize("name", models.list_models())
def test_any_number_of_classes(name):
    assert abstract.shapes(name, classes=3).head.bias.shape == (3,)


def test_the_separable_twin_of_the_tutorial_is_small():
    parameters, _, _ = abstract.counts("keras_separable")
    assert parameters <= 46_000


def test_the_wide_twin_costs_what_the_plain_one_costs():
    (_, plain, _), (_, wide, _) = map(abstract.counts, ("cnn", "ds_dcn_wide"))
    assert abs(wide / plain - 1) < 0.01


def test_ours_is_small_and_sees_far_without_a_pool():
    parameters, _, field = abstract.counts("dsdc")
    assert parameters < 200_000
    assert field > 44
    program = str(jax.make_jaxpr(abstract.activations("dsdc"))(abstract.IMAGE))
    assert "reduce_window" not in program
    assert "reduce_max" not in program


@pytest.mark.parametrize(("width", "dilations"), models.CifarDSDC.STAGES)
def test_the_dilations_of_ours_leave_nothing_out(width, dilations):
    del width
    assert coverage([Layer(3, kernel_dilation=rate) for rate in dilations]).share == 1


def test_the_tiniest_has_the_published_number_of_parameters():
    assert abstract.counts("tiniest")[0] == 97_530


def test_a_wide_open_gate_has_a_finite_gradient(key, compile_quickly):
    """``exp`` of the gate's input would be infinite, and ``tanh`` of that has a NaN derivative."""
    block = abstract.filled(nnx.eval_shape(lambda: GatedBlock(8, rngs=nnx.Rngs(0))), 1.0)
    block.expand.bias[...] = jnp.full(16, 200.0)
    slope = jax.jit(jax.grad(lambda x: block(x).sum()))(jax.random.normal(key, (1, 5, 5, 8)))
    chex.assert_tree_all_finite(slope)
    assert float(abs(slope).max()) > 0


def test_the_context_module_is_the_identity_at_first(key, compile_quickly):
    module = ContextModule(4, rngs=nnx.Rngs(0))
    x = jax.random.uniform(key, (2, 9, 8, 4))
    chex.assert_trees_all_equal(jax.jit(module)(x), x)


def test_the_context_module_sees_what_its_authors_say():
    module = ContextModule(2, rngs=nnx.Rngs(0))
    fields = []
    for name in ("dilated_1", "dilated_2", "dilated_3", "dilated_4", "dilated_5", "dilated_6",
                 "dilated_7", "context"):  # fmt: skip
        x = jax.ShapeDtypeStruct((1, 80, 80, 2), jnp.float32)
        (field,) = receptive_field(lambda x, name=name: module.activations(x)[name], x).outputs
        fields.append(field.axes[0].size)
    assert fields == [3, 5, 9, 17, 33, 65, 67, 67]


def test_the_blocks_that_undo_the_grid_carry_nothing_past_themselves():
    *others, before, last = abstract.shapes("drn").blocks
    assert all(block.residual for block in others)
    assert not before.residual and not last.residual
    assert before.skip is None and last.skip is None
