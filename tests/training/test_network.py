"""Modules as pure functions, and the transformations of such functions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dilax import models, nn
from dilax.training import (
    LOSS_SCALES,
    Classification,
    TrainOptions,
    compute_in,
    functional,
    keep_statistics,
    load_into,
)
from dilax.training import make_train_step as make_step
from tests.training.network import (
    CLASSES,
    Network,
    assert_close_trees,
    assert_equal_trees,
    labelled_images,
    network,
    plain,
    prepare,
    training,
)

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

IMAGES = prepare(labelled_images(6).inputs)


def plain_arrays(module, kind):
    return nnx.to_pure_dict(nnx.state(module, kind))


def test_params_and_batch_stats_are_plain_dictionaries_of_arrays():
    _, params, batch_stats = network()
    assert jax.tree.map(jnp.shape, params) == {
        "hidden": {"kernel": (64, 4), "bias": (4,)},
        "norm": {"scale": (4,), "bias": (4,)},
        "head": {"kernel": (4, CLASSES), "bias": (CLASSES,)},
    }
    assert jax.tree.map(jnp.shape, batch_stats) == {"norm": {"mean": (4,), "var": (4,)}}


@pytest.mark.parametrize("train", [False, True])
def test_apply_does_what_the_module_does(train):
    apply, params, batch_stats = network()
    module = Network(rngs=nnx.Rngs(0))
    if train:
        module.train()
    else:
        module.eval()
    logits, new_stats = apply(params, batch_stats, IMAGES, train=train)
    np.testing.assert_allclose(logits, module(IMAGES), rtol=1e-6)
    assert_equal_trees(new_stats, plain_arrays(module, nnx.BatchStat))
    moved = bool((new_stats["norm"]["mean"] != batch_stats["norm"]["mean"]).any())
    assert moved is train


@pytest.mark.parametrize(
    "make",
    [
        lambda rngs: nnx.BatchNorm(3, momentum=0.9, rngs=rngs),
        lambda rngs: nn.SeparableBlock(3, 4, (3, 3), momentum=0.9, rngs=rngs),
        pytest.param(lambda rngs: models.create("eesp", rngs=rngs), marks=pytest.mark.long),
    ],
)
def test_the_first_updates_of_running_statistics_weigh_more(key, make):
    apply, params, start = functional(make(nnx.Rngs(0)))
    images = jax.random.normal(key, (4, 32, 32, 3))
    trained = jax.jit(functools.partial(apply, params, train=True))
    first = trained(start, images, updates=0)[1]
    usual = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, start, first)
    halfway = jax.tree.map(lambda old, new: (old + new) / 2, start, first)
    for updates, expected in ((10, halfway), (1000, usual), (None, usual)):
        assert_close_trees(trained(start, images, updates=updates)[1], expected)


def test_a_module_may_hold_its_rngs(key):
    """``nnx.Rngs`` has a stream of any name, so also of those of the options of normalisation."""

    class Drawing(nnx.Module):
        def __init__(self, rngs):
            self.norm, self.rngs = nnx.BatchNorm(3, momentum=0.9, rngs=rngs), rngs

        def __call__(self, x):
            return self.norm(x) + jax.random.normal(self.rngs.noise(), x.shape)

    apply, params, start = functional(Drawing(nnx.Rngs(0)))
    images = jax.random.normal(key, (4, 5, 5, 3))
    trained = jax.jit(functools.partial(apply, train=True))
    _, moved = trained(params, start, images, key=key, updates=0)
    np.testing.assert_allclose(moved["norm"]["mean"], images.mean((0, 1, 2)), atol=1e-6)


def test_kept_statistics_normalise_and_stay_while_parameters_train():
    apply, params, stats = network()
    stats = jax.tree.map(lambda leaf: leaf + 0.5, stats)
    kept = keep_statistics(apply)
    logits, unmoved = kept(params, stats, IMAGES, train=True, key=None, updates=0)
    assert_equal_trees(unmoved, stats)
    np.testing.assert_array_equal(logits, apply(params, stats, IMAGES, train=False)[0])
    slopes = jax.grad(lambda params: (kept(params, stats, IMAGES, train=True)[0] ** 2).sum())(
        params
    )
    assert all(leaf.any() for leaf in jax.tree.leaves(slopes))


def test_the_module_is_left_alone():
    module = Network(rngs=nnx.Rngs(0))
    before = jax.tree.map(np.array, plain_arrays(module, (nnx.Param, nnx.BatchStat)))
    apply, params, batch_stats = functional(module)
    apply(jax.tree.map(jnp.zeros_like, params), batch_stats, IMAGES, train=True)
    assert_equal_trees(plain_arrays(module, (nnx.Param, nnx.BatchStat)), before)
    assert module.norm.use_running_average is False


def test_load_into_writes_the_arrays_back_or_leaves_the_module_alone():
    _, params, batch_stats = network(seed=1)
    module = Network(rngs=nnx.Rngs(0))
    load_into(module, params, jax.tree.map(lambda array: array + 3, batch_stats))
    assert_equal_trees(plain_arrays(module, nnx.Param), params)
    np.testing.assert_array_equal(module.norm.mean[...], batch_stats["norm"]["mean"] + 3)
    with pytest.raises(ValueError, match=r"batch_stats must hold norm\.mean of shape"):
        load_into(module, jax.tree.map(jnp.zeros_like, params), {})
    assert_equal_trees(plain_arrays(module, nnx.Param), params)


def test_random_numbers_are_drawn_from_the_key(key):
    class Twice(nnx.Module):
        def __init__(self):
            self.first = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
            self.second = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return jnp.stack([self.first(x), self.second(x)])

    apply, params, batch_stats = functional(Twice())
    ones = jnp.ones((2, 50))
    once, again, other = (
        apply(params, batch_stats, ones, train=True, key=k)[0]
        for k in (key, key, jax.random.fold_in(key, 1))
    )
    np.testing.assert_array_equal(once, again)
    assert bool((once != other).any())
    assert bool((once[0] != once[1]).any())  # the two streams differ
    unchanged = apply(params, batch_stats, ones, train=False)[0]
    np.testing.assert_array_equal(unchanged, jnp.ones((2, 2, 50)))
    with pytest.raises(ValueError, match="key must be given where a network draws"):
        apply(params, batch_stats, ones, train=True)


def test_other_state_is_refused():
    module = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    module.count = nnx.Cache(jnp.zeros(()))
    with pytest.raises(ValueError, match=r"random streams, got also.*count"):
        functional(module)


def test_a_network_computes_in_a_type_and_returns_float32():
    dtype = "bfloat16"
    state, _, apply = training()
    seen = []

    def watched(params, batch_stats, images, **options):
        seen.extend(leaf.dtype for leaf in jax.tree.leaves((params, images)))
        return apply(params, batch_stats, images, **options)

    logits, stats = compute_in(dtype, watched)(*state.weights("final"), IMAGES, train=True)
    assert set(seen) == {jnp.dtype(dtype)}
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(stats)} == {jnp.dtype("float32")}
    exact, _ = apply(*state.weights("final"), IMAGES, train=True)
    np.testing.assert_allclose(logits, exact, atol=0.05)


@pytest.mark.parametrize("dtype", [pytest.param("bfloat16", marks=pytest.mark.long), "float16"])
def test_a_network_learns_in_half_precision(key, dtype):
    optimizer = optax.adam(1e-2)
    state, _, apply = training(optimizer=optimizer)
    options = TrainOptions(loss_scale=LOSS_SCALES[dtype])
    step = jax.jit(make_step(compute_in(dtype, apply), optimizer, augment=plain, options=options))
    losses = []
    for _ in range(60):
        state, totals = step(state, labelled_images(64), key)
        losses.append(totals.means(Classification())["loss"])
    assert losses[-1] < losses[0] / 3
    assert int(totals.fault.step) == -1
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
