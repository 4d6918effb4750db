import jax
import jax.numpy as jnp

from dilax.training.epoch import make_train_steps
from dilax.training.step import Totals
from dilax.training.wrappers import jit
from tests.training.network import assert_equal_trees, labelled_images, training


def test_jit_keeps_the_signature_and_gives_the_state_away():
    data, batches = labelled_images(8), jnp.arange(8).reshape(2, 4)
    state, train_step, _ = training()
    expected = jax.jit(make_train_steps(train_step))(state, Totals.zero(), data, batches)
    totals = Totals.zero()
    result = jit(make_train_steps(train_step))(state, totals, data, batches)
    assert_equal_trees(result, expected)
    assert state.params["hidden"]["kernel"].is_deleted()
    assert totals.loss.is_deleted()
    assert not data.images.is_deleted()
