import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dilax.training.precision import LOSS_SCALES, compute_in
from dilax.training.step import make_train_step
from tests.training.network import labelled_images, prepare, training

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_network_computes_in_a_dtype_and_gives_float32(dtype):
    state, _, apply = training()
    seen = []

    def watched(params, batch_stats, images, **options):
        seen.extend(leaf.dtype for leaf in jax.tree.leaves((params, images)))
        return apply(params, batch_stats, images, **options)

    images = prepare(labelled_images(8).images)
    logits, stats = compute_in(dtype, watched)(*state.weights("final"), images, train=True)
    assert set(seen) == {jnp.dtype(dtype)}
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(stats)} == {jnp.dtype("float32")}
    exact, _ = apply(*state.weights("final"), images, train=True)
    np.testing.assert_allclose(logits, exact, atol=0.05)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_network_learns_in_every_precision(key, dtype):
    optimizer = optax.adam(1e-2)
    state, _, apply = training(optimizer=optimizer)
    options = {
        "augment": lambda key, images, step: prepare(images),
        "loss_scale": LOSS_SCALES[dtype],
    }
    step = jax.jit(make_train_step(compute_in(dtype, apply), optimizer, **options))
    losses = []
    for _ in range(60):
        state, totals = step(state, labelled_images(64), key)
        losses.append(totals.means()["loss"])
    assert losses[-1] < losses[0] / 3
    assert int(totals.fault.step) == -1
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}


def test_a_loss_scale_leaves_the_gradient_as_it_is(key):
    updates = []
    for loss_scale in (1.0, 1024.0):
        state, step, _ = training(optimizer=optax.sgd(0.1), loss_scale=loss_scale)
        updates.append(jax.jit(step)(state, labelled_images(8), key)[0].params)
    for plain, scaled in zip(*map(jax.tree.leaves, updates), strict=True):
        np.testing.assert_allclose(scaled, plain, rtol=1e-5, atol=1e-7)
