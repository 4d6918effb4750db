"""The optimisers and schedules, each against its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dilax.training import (
    adamw,
    clipped,
    cosine,
    everything,
    except_frozen,
    is_kernel,
    mixes_features,
    muon,
    nesterov,
    one_cycle,
    scaled,
)

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def first_step(optimizer, params, grads):
    updates, _ = jax.jit(optimizer.update)(grads, optimizer.init(params), params)
    return updates


@pytest.mark.parametrize("make", [adamw, nesterov, muon])
def test_kernels_alone_decay(make):
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2), "scale": jnp.ones(2)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates = first_step(make(0.1, weight_decay=0.5), params, zeros)
    twice = 1.9 if make is nesterov else 1.0  # the penalty takes part in the momentum
    np.testing.assert_allclose(updates["kernel"], -0.1 * 0.5 * twice, rtol=1e-6)
    assert updates["bias"].tolist() == updates["scale"].tolist() == [0, 0]
    assert is_kernel(params) == {"kernel": True, "bias": False, "scale": False}


@pytest.mark.parametrize("make", [adamw, nesterov, muon])
def test_what_decays_can_be_said(make):
    params = {"depthwise": jnp.ones((3, 3, 1, 2)), "dense": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    for mask, decayed in ((mixes_features, {"dense"}), (everything, set(params))):
        updates = first_step(make(0.1, weight_decay=0.5, mask=mask), params, zeros)
        assert {name for name, update in updates.items() if update.any()} == decayed


def test_nesterov_looks_ahead(key):
    """Against Sutskever's two lines, written out."""
    optimizer, rate, momentum = nesterov(0.1, weight_decay=0.0), 0.1, 0.9
    grads = np.asarray(jax.random.normal(key, (5, 3)))
    params, state = jnp.zeros(3), optimizer.init(jnp.zeros(3))
    expected, speed = np.zeros(3), np.zeros(3)
    for grad in grads:
        updates, state = optimizer.update(jnp.asarray(grad), state, params)
        params = optax.apply_updates(params, updates)
        speed = momentum * speed + grad
        expected = expected - rate * (grad + momentum * speed)
    np.testing.assert_allclose(params, expected, rtol=1e-5)


def test_muon_makes_the_columns_of_a_dense_kernel_orthogonal(key):
    """The singular values of the step are nearly equal, and those of the gradient differ widely."""
    kernel = jnp.zeros((3, 3, 4, 8))
    sizes = jnp.array([10.0, 1, 1, 1, 1, 1, 1, 0.1])[None, None, None]
    grad = jax.random.normal(key, kernel.shape) * sizes
    step = first_step(muon(1.0, weight_decay=0.0), {"kernel": kernel}, {"kernel": grad})["kernel"]
    values = [np.linalg.svd(np.asarray(a).reshape(36, 8))[1] for a in (grad, step)]
    assert values[0].max() / values[0].min() > 30
    assert values[1].max() / values[1].min() < 2
    assert float(jnp.sqrt(jnp.mean(step**2))) == pytest.approx(0.2, rel=0.3)


def test_muon_leaves_depthwise_kernels_and_vectors_to_adam(key):
    params = {"depthwise": jnp.zeros((3, 3, 1, 8)), "bias": jnp.zeros(8)}
    grads = jax.tree.map(lambda p: jax.random.normal(key, p.shape), params)
    steps = [first_step(make(0.1, weight_decay=0.0), params, grads) for make in (muon, adamw)]
    for name in params:  # the first step of Adam is the sign; Nesterov's form of it is no longer
        np.testing.assert_array_equal(*(np.sign(step[name]) for step in steps))
        assert float(jnp.std(jnp.abs(steps[0][name]))) < 1e-3


def test_long_gradients_are_shortened_and_short_ones_left():
    optimizer = clipped(optax.sgd(1.0), norm=5.0)
    params = {"a": jnp.zeros(2), "b": jnp.zeros(1)}
    long = {"a": jnp.array([6.0, 8.0]), "b": jnp.zeros(1)}
    np.testing.assert_allclose(first_step(optimizer, params, long)["a"], [-3, -4], rtol=1e-6)
    short = {"a": jnp.array([3.0, 0.0]), "b": jnp.ones(1)}
    np.testing.assert_allclose(first_step(optimizer, params, short)["a"], [-3, 0], rtol=1e-6)


@pytest.mark.parametrize("make", [adamw, nesterov, muon])
def test_frozen_parameters_stay_and_remember_nothing(make):
    params = {"body": jnp.ones((2, 2)), "head": jnp.ones((2, 2))}
    optimizer = except_frozen(make(0.1, weight_decay=0.5), lambda path: path[0].key == "body")
    updates = first_step(optimizer, params, params)
    assert not updates["body"].any() and updates["head"].all()
    kept = [leaf for leaf in jax.tree.leaves(optimizer.init(params)) if leaf.ndim > 1]
    assert 1 <= len(kept) <= 2  # of the head alone


@pytest.mark.parametrize("make", [adamw, nesterov, muon])
def test_a_scaled_parameter_has_a_learning_rate_of_its_own(make):
    params = {"body": jnp.ones((2, 2)), "head": jnp.ones((2, 2))}
    optimizer = scaled(make(0.1, weight_decay=0.5), lambda path: path[0].key == "body", factor=0.2)
    updates = first_step(optimizer, params, params)
    alone = first_step(make(0.1, weight_decay=0.5), params, params)
    slower = first_step(make(0.02, weight_decay=0.5), params, params)
    np.testing.assert_allclose(updates["head"], alone["head"], rtol=1e-6)
    np.testing.assert_allclose(updates["body"], slower["body"], rtol=1e-6)
    with pytest.raises(ValueError, match="factor must be 0 or more, got -1"):
        scaled(optimizer, bool, factor=-1)


@pytest.mark.parametrize("make", [adamw, nesterov, muon])
def test_impossible_strengths_are_refused(make):
    with pytest.raises(ValueError, match=r"weight_decay must be 0 or more, got -0\.5"):
        make(0.1, weight_decay=-0.5)
    with pytest.raises(ValueError, match="norm must be positive, got 0"):
        clipped(make(0.1, weight_decay=0.0), norm=0)


def test_one_cycle_rises_along_a_line_and_falls_along_half_a_cosine():
    peak, total = 0.02, 200
    schedule = one_cycle(peak, total_steps=total)

    def expected(step):
        top = 40
        if step < top:
            return peak / 25 + (peak - peak / 25) * step / top
        return peak * (1 + np.cos(np.pi * (step - top) / (total - top))) / 2

    for step in (0, 1, 20, 40, 41, 130, 199, 200):
        assert float(schedule(step)) == pytest.approx(expected(step), rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("total", [1, 2, 3, 4])
def test_one_cycle_of_a_few_steps_is_finite_and_never_above_its_peak(total):
    schedule = one_cycle(0.01, total_steps=total)
    assert all(0 <= float(schedule(step)) <= 0.0100001 for step in range(total + 1))


def test_cosine_falls_along_half_a_cosine():
    schedule = cosine(0.02, total_steps=200)
    for step in (0, 1, 50, 199, 200):
        expected = 0.02 * (1 + np.cos(np.pi * step / 200)) / 2
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("schedule", [one_cycle, cosine])
def test_impossible_rates_are_refused(schedule):
    with pytest.raises(ValueError, match="learning_rate must be positive, got -1"):
        schedule(-1, total_steps=10)
    with pytest.raises(ValueError, match="total_steps must be at least 1, got 0"):
        schedule(0.1, total_steps=0)
