"""The networks: shapes, counts as their docstrings state them, options, layers open to view."""

import functools
import inspect
import re
from typing import get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dilax import models
from dilax.analysis import Layer, coverage, receptive_field
from dilax.models._context import ContextModule
from dilax.models._registry import KINDS, MODELS
from dilax.models._tiniest import GatedBlock
from dilax.training import functional
from tests.cases import thinned
from tests.models import abstract

NAMES = [name for name in models.list_models() if issubclass(MODELS[name], models.Classifier)]
FLATTENING = {
    "mnist_textbook": (28, 28),
    "mnist_tutorial": (28, 28),
    "keras_dilated": (30, 33),
    "keras_separable": (30, 33),
}
OF_IMAGENET = ("mobilenet_v2",)
SCHEDULES = {
    "mnist_dsdc": (1, 2, 1, 1, 2, 1, 2),
    "cnn": (1, 1, 1, 1, 1, 1),
    "ds_dcn": (1, 1, 2, 1, 2, 4),
    "ds_dcn_wide": (1, 1, 2, 1, 2, 4),
    "dsdc": (1, 1, 2, 1, 3, 1, 1, 1, 2, 1, 3, 1, 2, 1),
    "context": (1, 1, 2, 4, 8, 16, 1),
}
counts = functools.cache(abstract.counts)


def classes_of(name):
    return 1000 if name in OF_IMAGENET else 10


def test_images_to_finite_logits(key, long, compile_quickly):
    for name in NAMES if long else ("mnist_dsdc",):
        images = jax.random.normal(key, (2, *abstract.image(name).shape[1:]))

        def run(key, name=name, images=images):
            network = models.create(name, rngs=nnx.Rngs(key))
            network.eval()
            return network(images)

        logits = jax.jit(run)(key)
        chex.assert_shape(logits, (2, classes_of(name)))
        chex.assert_tree_all_finite(logits)


@pytest.mark.parametrize("name", thinned([(name,) for name in NAMES], 2))
def test_a_training_step_fits_its_parameters_and_statistics(name):
    network = abstract.shapes(name, classes=3)
    assert network.head.bias.shape == (3,)
    apply, params, statistics = functional(network)

    def loss(params, statistics, images):
        logits, moved = apply(params, statistics, images, train=True)
        return logits.sum(), moved

    slope = jax.grad(loss, has_aux=True)
    slopes, moved = jax.eval_shape(slope, params, statistics, abstract.image(name))
    chex.assert_trees_all_equal_shapes_and_dtypes(slopes, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(moved, statistics)


@pytest.mark.parametrize("name", NAMES)
def test_docstring_states_the_counts(name):
    text = " ".join(MODELS[name].__doc__.split())
    stated = [
        found and int(found[1].replace(",", ""))
        for pattern in (
            r"([\d,]+) parameters",
            r"([\d,]+) multiply-adds",
            r"receptive field of the convolutions (\d+)",
        )
        for found in [re.search(pattern, text)]
    ]
    numbers = 2 if name.startswith("mnist_") else 3
    assert [*counts(name)[:numbers]] == stated[:numbers]


def test_type_checkers_are_told_the_kind_of_every_network():
    told = {name: kind for names, kind in KINDS.items() for name in get_args(names)}
    assert told.keys() == MODELS.keys()
    assert all(issubclass(MODELS[name], kind) for name, kind in told.items())


def test_textbook_has_the_textbook_count():
    # 7x7 to 12, 3x3 in 6 groups, 1x1 to 24, 7x7 to 6, linear: weights and biases by hand
    weights = 49 * 12 + 9 * 2 * 12 + 12 * 24 + 49 * 24 * 6 + 6 * 12 * 12 * 10
    assert counts("mnist_textbook")[0] == weights + 12 + 12 + 24 + 6 + 10
    assert counts("tiniest")[0] == 97_530  # as published


def test_ours_are_small_and_see_the_whole_image():
    parameters, _, field = counts("mnist_dsdc")
    assert parameters < 8_000 and field >= 28
    parameters, _, field = counts("dsdc")
    assert parameters < 200_000 and field >= 2 * 32
    program = str(jax.make_jaxpr(abstract.activations("dsdc"))(abstract.image("dsdc")))
    assert "dilax_conv" in program
    assert "reduce_window" not in program and "reduce_max" not in program
    for stage in (SCHEDULES["dsdc"][:6], SCHEDULES["dsdc"][6:]):
        assert coverage([Layer(3, kernel_dilation=dilation) for dilation in stage]).share == 1


def test_twins_cost_what_they_say():
    assert counts("keras_separable")[0] <= 46_000
    assert abs(counts("ds_dcn_wide")[1] / counts("cnn")[1] - 1) < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_layers_are_named_and_sizes_are_checked(name):
    run = abstract.activations(name)
    assert list(abstract.layer_shapes(run, abstract.image(name)))[-1] == "logits"
    smallest, largest = FLATTENING.get(name, (8, 40))
    sizes = abstract.layer_shapes(run, abstract.image(name, smallest, largest))
    assert sizes["logits"] == (1, classes_of(name))
    if name in FLATTENING:
        sides = f"{smallest} pixels" if smallest == largest else f"{smallest} to {largest} pixels"
        for size in ((smallest - 1, smallest), (smallest, largest + 1)):
            with pytest.raises(ValueError, match=rf"H and W of {sides}.*got \(1, {size[0]}, "):
                abstract.layer_shapes(run, abstract.image(name, *size))


@pytest.mark.parametrize("name", NAMES)
def test_an_image_without_a_batch_is_refused(name):
    network = abstract.shapes(name)
    image = abstract.image(name).shape[1:]
    with pytest.raises(ValueError, match=r"\(N, H, W, C\), got .*a batch of one: images\[None\]"):
        network(jnp.ones(image))


def test_the_schedules_of_dilations_are_options():
    defaults = {
        name: parameter.default
        for name in NAMES
        for parameter in inspect.signature(MODELS[name].__init__).parameters.values()
        if parameter.name == "kernel_dilation"
    }
    assert defaults == SCHEDULES
    for name in ("mnist_dsdc", "cnn", "ds_dcn"):
        most = np.array(SCHEDULES[name])
        most[-1] += 2
        run = abstract.activations(name, kernel_dilation=most)
        assert abstract.field(run, abstract.image(name)) > counts(name)[2]


def test_options_that_no_network_takes():
    with pytest.raises(
        TypeError,
        match=r"options of cnn must be among \['classes', 'kernel_dilation'\], got dilation",
    ):
        abstract.shapes("cnn", dilation=(1,))
    with pytest.raises(TypeError, match=r"options of tiniest must be among .*, got depth, width"):
        abstract.shapes("tiniest", width=3, depth=4)
    with pytest.raises(ValueError, match=r"each of the network's 7 layers, got \(1, 2\)"):
        abstract.shapes("mnist_dsdc", kernel_dilation=(1, 2))
    with pytest.raises(ValueError, match="each of kernel_dilation must be at least 1, got 0"):
        abstract.shapes("cnn", kernel_dilation=[0] * 6)
    with pytest.raises(ValueError, match="got 'mnist_dcsd'; did you mean mnist_dsdc"):
        models.create("mnist_dcsd", rngs=nnx.Rngs(0))


def test_a_wide_open_gate_has_a_finite_gradient(key, compile_quickly):
    """``exp`` of the gate's input would be infinite, and ``tanh`` of that has a NaN derivative."""
    block = abstract.filled(nnx.eval_shape(lambda: GatedBlock(8, rngs=nnx.Rngs(0))), 1.0)
    block.expand.bias[...] = jnp.full(16, 200.0)
    slope = jax.jit(jax.grad(lambda x: block(x).sum()))(jax.random.normal(key, (1, 5, 5, 8)))
    chex.assert_tree_all_finite(slope)
    assert float(abs(slope).max()) > 0


def test_the_context_module_is_the_identity_at_first(key, compile_quickly):
    x = jax.random.uniform(key, (1, 5, 4, 4))
    y = jax.jit(lambda x: ContextModule(4, rngs=nnx.Rngs(0))(x))(x)
    chex.assert_trees_all_equal(y, x)


def test_the_context_module_sees_what_its_authors_say():
    module = abstract.filled(nnx.eval_shape(lambda: ContextModule(2, rngs=nnx.Rngs(0))), 0)
    x = jax.ShapeDtypeStruct((1, 80, 80, 2), jnp.float32)
    fields = [
        receptive_field(lambda x, name=name: module.activations(x)[name], x).outputs[0].axes[0].size
        for name in (*(f"dilated_{place}" for place in range(1, 8)), "context")
    ]
    assert fields == [3, 5, 9, 17, 33, 65, 67, 67]


def test_the_blocks_that_remove_the_grid_carry_nothing_past_themselves():
    *others, before, last = abstract.shapes("drn").blocks
    assert all(block.residual for block in others)
    assert not before.residual and not last.residual
    assert before.skip is None and last.skip is None
