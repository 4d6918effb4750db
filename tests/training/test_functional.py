import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dilax.training.functional import functional, load_into
from tests.training.network import CLASSES, Network, assert_equal_trees, labelled_images, prepare

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

IMAGES = prepare(labelled_images(6).images)


def plain_arrays(module, kind):
    return nnx.to_pure_dict(nnx.state(module, kind))


def test_params_and_batch_stats_are_plain_dictionaries_of_arrays():
    _, params, batch_stats = functional(Network(rngs=nnx.Rngs(0)))
    assert jax.tree.map(jnp.shape, params) == {
        "hidden": {"kernel": (64, 4), "bias": (4,)},
        "norm": {"scale": (4,), "bias": (4,)},
        "head": {"kernel": (4, CLASSES), "bias": (CLASSES,)},
    }
    assert jax.tree.map(jnp.shape, batch_stats) == {"norm": {"mean": (4,), "var": (4,)}}


@pytest.mark.parametrize("train", [False, True])
def test_apply_does_what_the_module_does(train):
    apply, params, batch_stats = functional(Network(rngs=nnx.Rngs(0)))
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


def test_the_module_is_left_alone():
    module = Network(rngs=nnx.Rngs(0))
    before = jax.tree.map(np.array, plain_arrays(module, (nnx.Param, nnx.BatchStat)))
    apply, params, batch_stats = functional(module)
    apply(jax.tree.map(jnp.zeros_like, params), batch_stats, IMAGES, train=True)
    assert_equal_trees(plain_arrays(module, (nnx.Param, nnx.BatchStat)), before)
    assert module.norm.use_running_average is False


def test_load_into_writes_the_arrays_back():
    _, params, batch_stats = functional(Network(rngs=nnx.Rngs(1)))
    module = Network(rngs=nnx.Rngs(0))
    load_into(module, params, jax.tree.map(lambda array: array + 3, batch_stats))
    assert_equal_trees(plain_arrays(module, nnx.Param), params)
    np.testing.assert_array_equal(module.norm.mean[...], batch_stats["norm"]["mean"] + 3)


def test_what_a_network_draws_is_drawn_from_the_key(key):
    apply, params, batch_stats = functional(nnx.Dropout(0.5, rngs=nnx.Rngs(0)))
    ones = jnp.ones((2, 50))
    once, again, other = (
        apply(params, batch_stats, ones, train=True, key=k)[0]
        for k in (key, key, jax.random.fold_in(key, 1))
    )
    np.testing.assert_array_equal(once, again)
    assert bool((once != other).any())
    np.testing.assert_array_equal(apply(params, batch_stats, ones, train=False)[0], ones)
    with pytest.raises(ValueError, match="draws random numbers in training; required: key"):
        apply(params, batch_stats, ones, train=True)


def test_streams_of_one_network_differ(key):
    class Twice(nnx.Module):
        def __init__(self):
            self.first = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
            self.second = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return jnp.stack([self.first(x), self.second(x)])

    apply, params, batch_stats = functional(Twice())
    first, second = apply(params, batch_stats, jnp.ones((2, 50)), train=True, key=key)[0]
    assert bool((first != second).any())


def test_other_state_is_refused():
    module = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    module.count = nnx.Cache(jnp.zeros(()))
    with pytest.raises(ValueError, match=r"random streams, received also.*count"):
        functional(module)
