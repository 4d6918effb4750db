"""Magnitude pruning: the schedule, exact zeros, and a run that trains with it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dilax import training
from dilax.training import sparse

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

PARAMS = {
    "dense": jax.random.normal(jax.random.key(0), (3, 3, 4, 8)),
    "depthwise": jax.random.normal(jax.random.key(1), (3, 3, 1, 8)),
    "bias": jax.random.normal(jax.random.key(2), (8,)),
}


def run(optimizer, steps, params=PARAMS):
    """Take steps along random gradients; return the parameters after each."""

    @jax.jit
    def move(key, params, state):
        gradients = jax.tree.map(lambda array: jax.random.normal(key, array.shape), params)
        change, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, change), state

    state, found = optimizer.init(params), []
    for step in range(steps):
        params, state = move(jax.random.key(step), params, state)
        found.append(params)
    return found


def zeros(params):
    return {name: float(np.mean(np.asarray(array) == 0)) for name, array in params.items()}


def test_the_share_of_zeros_follows_the_cubic_schedule():
    found = run(sparse(optax.adam(0.01), sparsity=0.75, begin=2, end=10, every=1), 14)
    for step, params in enumerate(found, start=1):
        done = np.clip((step - 2) / 8, 0, 1)
        share = np.round(288 * 0.75 * (1 - (1 - done) ** 3)) / 288
        assert zeros(params) == {"dense": pytest.approx(share), "depthwise": 0, "bias": 0}


def test_entries_are_chosen_anew_only_from_time_to_time_and_stay_zero_after_the_end():
    found = run(sparse(optax.sgd(0.1), sparsity=0.5, begin=0, end=6, every=4), 12)
    shares = [zeros(params)["dense"] for params in found]
    assert shares[:3] == [0, 0, 0] and shares[3] == shares[4] > 0
    assert shares[5:] == [0.5] * 7
    places = [np.asarray(params["dense"]) == 0 for params in found[5:]]
    assert all((place == places[0]).all() for place in places)


def test_the_smallest_entries_go():
    params = {"dense": jnp.arange(1.0, 17.0).reshape(4, 4) * jnp.array([[1, -1, 1, -1]])}
    (after,) = run(sparse(optax.sgd(0.0), sparsity=0.25, begin=0, end=1), 1, params)
    np.testing.assert_array_equal(after["dense"][0], 0)
    np.testing.assert_array_equal(after["dense"][1:], params["dense"][1:])


def test_entries_that_stay_move_as_without_pruning():
    pruned = run(sparse(optax.adam(0.01), sparsity=0.5, begin=0, end=1), 3)[-1]["dense"]
    plain = run(optax.adam(0.01), 3)[-1]["dense"]
    kept = np.asarray(pruned) != 0
    np.testing.assert_allclose(np.asarray(pruned)[kept], np.asarray(plain)[kept], rtol=1e-6)


def test_a_mask_selects_what_is_pruned():
    optimizer = sparse(optax.sgd(0.1), sparsity=0.5, begin=0, end=1, mask=training.everything)
    assert zeros(run(optimizer, 1)[-1]) == {"dense": 0.5, "depthwise": 0.5, "bias": 0.5}


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"optimizer": 3}, TypeError, "optimizer must be an optax optimiser, got 3"),
        ({"sparsity": 1.0}, ValueError, "sparsity must be at least 0 and below 1, got 1.0"),
        ({"sparsity": "all"}, TypeError, "sparsity must be a real number"),
        ({"begin": -1}, ValueError, "begin must be at least 0, got -1"),
        ({"end": 5}, ValueError, "end must be at least 6, got 5"),
        ({"every": 0}, ValueError, "every must be at least 1, got 0"),
        ({"mask": 1}, TypeError, "mask must be a function, got 1"),
    ],
)
def test_wrong_arguments(change, error, message):
    given = {"optimizer": optax.sgd(0.1), "sparsity": 0.5, "begin": 5, "end": 9} | change
    with pytest.raises(error, match=message):
        sparse(given.pop("optimizer"), **given)


def test_parameters_are_needed():
    optimizer = sparse(optax.sgd(0.1), sparsity=0.5, begin=0, end=1)
    with pytest.raises(ValueError, match="params must be given to update"):
        optimizer.update(PARAMS, optimizer.init(PARAMS))
