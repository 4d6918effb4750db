import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dilax.training.state import average, create_state


def new_state():
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}
    return create_state(jax.random.key(5), params, {"mean": jnp.zeros(3)}, optax.adam(1e-3))


def test_average_is_the_weighted_mean_of_all_steps():
    decay, values = 0.8, np.random.default_rng(0).normal(size=(6, 3))
    ema = jnp.full(3, 5.0)  # the start value must leave no trace
    for step, value in enumerate(values, start=1):
        ema = average(ema, jnp.asarray(value, jnp.float32), jnp.int32(step), decay)
        weights = decay ** np.arange(step - 1, -1, -1.0)
        expected = weights @ values[:step] / weights.sum()
        np.testing.assert_allclose(ema, expected, rtol=1e-4, atol=1e-5)


def test_average_without_decay_is_the_newest_value():
    assert float(average(jnp.float32(7), jnp.float32(2), jnp.int32(9), 0.0)) == 2.0


def test_weights_are_final_or_ema():
    state = new_state()
    assert state.weights("final").params is state.params
    assert state.weights("ema") is state.ema
    with pytest.raises(ValueError, match='must be "final" or "ema", received \'best\''):
        state.weights("best")


def test_keys_of_steps_and_epochs_all_differ_and_come_from_the_counters():
    state = new_state()
    later = jax.tree.map(lambda leaf: leaf, state)
    object.__setattr__(later, "step", jnp.int32(1))
    keys = [state.step_key(), later.step_key(), state.order_key(0), state.order_key(1)]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 4
    assert later.order_key(1) == state.order_key(1)


def test_create_state_shares_no_buffer():
    params = {"kernel": jnp.ones(3)}
    state = create_state(jax.random.key(0), params, {}, optax.sgd(0.1, momentum=0.9))
    jax.jit(lambda state: jax.tree.map(lambda leaf: leaf, state), donate_argnums=0)(state)
    assert params["kernel"].tolist() == [1, 1, 1]
