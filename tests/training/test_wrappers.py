import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dilax.training import wrappers
from dilax.training.device import share_batch
from dilax.training.epoch import make_train_steps
from dilax.training.step import Totals
from tests.training.network import assert_equal_trees, labelled_images, training

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def test_on_one_device_jit_is_jit_and_gives_the_state_away():
    data, batches = labelled_images(8), jnp.arange(8).reshape(2, 4)
    state, train_step, _ = training()
    expected = jax.jit(make_train_steps(train_step))(state, Totals.zero(), data, batches)
    wrapper = wrappers.make("jit", jax.devices()[:1])
    state, totals = wrapper.place_state(state), wrapper.replicate(Totals.zero())
    result = wrapper.wrap(make_train_steps(train_step))(state, totals, data, batches)
    assert_equal_trees(result, expected)
    assert state.params["hidden"]["kernel"].is_deleted()
    assert totals.loss.is_deleted()
    assert not data.images.is_deleted()


def test_the_optimiser_can_be_spread_over_the_devices():
    wrapper = wrappers.make("jit", jax.devices()[:2], shard_optimizer=True)
    state, train_step, _ = training()
    placed = wrapper.place_state(state)
    assert placed.params["hidden"]["kernel"].is_fully_replicated
    step = wrapper.wrap(make_train_steps(train_step))
    data, totals = wrapper.replicate(labelled_images(8)), wrapper.replicate(Totals.zero())
    for _ in range(2):
        moment = placed.opt_state[0].mu["hidden"]["kernel"]
        assert [shard.data.shape for shard in moment.addressable_shards] == [(32, 4)] * 2
        placed, totals = step(placed, totals, data, wrapper.split(np.arange(8).reshape(2, 4)))
    assert placed.params["hidden"]["kernel"].is_fully_replicated


@pytest.mark.parametrize(
    ("devices", "flags", "used"),
    [
        (8, {"batch_size": 128}, 8),
        (8, {"batch_size": 100}, 5),
        (8, {"batch_size": 7}, 7),
        (3, {"batch_size": 7}, 1),
        (8, {"batch_size": 96, "accumulate": 4}, 8),
        (8, {"batch_size": 12, "accumulate": 4}, 3),
        (8, {"batch_size": 100, "count": 2}, 2),
    ],
)
def test_a_batch_is_shared_by_as_many_devices_as_divide_it(devices, flags, used):
    assert share_batch(list(range(devices)), **{"count": 0, **flags}) == list(range(used))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"count": 9}, "devices must be at most 8, received 9"),
        (
            {"count": 8, "batch_size": 100},
            r"multiple of 8 \(8 devices, 1 parts one after the other\), received 100; "
            "try 96 or 104",
        ),
        ({"accumulate": 3}, r"multiple of 24 .*received 100; try 96 or 120"),
        ({"count": 8, "batch_size": 5}, "received 5; try 8$"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused(flags, message):
    flags = {"count": 0, "batch_size": 100, **flags}
    with pytest.raises(ValueError, match=message):
        share_batch(list(range(8)), **flags)


def test_an_unknown_wrapper_is_refused():
    with pytest.raises(ValueError, match='parallel must be "jit" or "pmap", received \'vmap\''):
        wrappers.make("vmap", jax.devices())


@pytest.mark.parametrize("parts", [2, 4])
def test_gradients_in_parts_are_those_of_the_whole_batch(key, parts):
    """Without batch normalisation, which would see a part."""
    states, totals = [], []
    for accumulate in (1, parts):
        state, step, _ = training(normalise=False, accumulate=accumulate)
        state, total = jax.jit(step)(state, labelled_images(8), key)
        states.append(state)
        totals.append(dataclasses.replace(total, loss=jnp.round(total.loss, 4)))
    for whole, part in zip(*(jax.tree.leaves(state.params) for state in states), strict=True):
        np.testing.assert_allclose(part, whole, rtol=1e-5, atol=1e-6)
    assert_equal_trees(totals[1], totals[0])
