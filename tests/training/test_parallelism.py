"""Each way to run steps on devices against one device, in this process; and which devices."""

import jax
import numpy as np
import optax
import pytest

from dilax.training import (
    Classification,
    Jit,
    Pmap,
    ResidentLoader,
    StreamingLoader,
    Totals,
    describe_device,
    find_devices,
    initialize_distributed,
    make_parallelism,
    make_train_steps,
    share_batch,
    unreplicate,
)
from tests.training.network import labelled_images, training

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

ORDER = [np.arange(16).reshape(2, 8), np.arange(16, 32).reshape(2, 8)]


EXAMPLES = jax.tree.map(np.asarray, labelled_images(32))
TASK = Classification()


def pure(axis_name=None):
    state, step, _ = training(optimizer=optax.sgd(0.1, momentum=0.9), axis_name=axis_name)
    return state, make_train_steps(step)


@pytest.fixture(scope="module")
def reference(module_compiles_quickly):
    """Four steps in two chunks by plain ``jax.jit``."""
    state, train_steps = pure()
    position, data = (state, Totals.zero(TASK)), labelled_images(32)
    for batches in ORDER:
        position = jax.jit(train_steps)(*position, data, batches)
    return position


@pytest.mark.parametrize(
    ("make", "count", "loader"),
    [
        (Jit, 1, ResidentLoader),
        (lambda devices: Jit(devices, shard_optimizer=True), 2, ResidentLoader),
        (Pmap, 2, StreamingLoader),
    ],
    ids=["jit", "jit sharded", "pmap streaming"],
)
def test_every_way_is_plain_jit(reference, make, count, loader):
    """Parameters agree to 1e-5 of the largest: the gradient of some is rounding alone."""
    parallelism = make(jax.devices()[:count])
    state, train_steps = pure(parallelism.axis_name)
    run, loader = parallelism.wrap(train_steps), loader(EXAMPLES, parallelism)
    position = parallelism.place_state(state), parallelism.replicate(Totals.zero(TASK))
    data = loader.data()
    for batches in loader.chunks(ORDER):
        before, position = position, run(*position, data, batches)
    state, totals = position
    expected, expected_totals = reference
    assert unreplicate(totals).means(TASK) == pytest.approx(expected_totals.means(TASK), rel=1e-6)
    for found, wanted in zip(
        *(jax.tree.leaves((s.params, s.batch_stats, s.ema)) for s in (state, expected)),
        strict=True,
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    trace = state.opt_state[0].trace["hidden"]["kernel"]
    shares = 2 if getattr(parallelism, "shard_optimizer", False) else 1
    assert {shard.data.shape for shard in trace.addressable_shards} == {(64 // shares, 4)}
    assert state.params["hidden"]["kernel"].is_fully_replicated
    if make is not Pmap:  # state and totals are donated
        assert before[0].params["hidden"]["kernel"].is_deleted() and before[1].loss.is_deleted()


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
        ({"count": 9}, "devices must be at most 8, got 9"),
        (
            {"count": 8, "batch_size": 100},
            r"multiple of 8 \(8 devices times 1 accumulated parts\), got 100; try 96 or 104",
        ),
        ({"accumulate": 3}, r"multiple of 24 .*got 100; try 96 or 120"),
        ({"count": 8, "batch_size": 5}, r"got 5; try 8\.$"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused(flags, message):
    flags = {"count": 0, "batch_size": 100, **flags}
    with pytest.raises(ValueError, match=message):
        share_batch(list(range(8)), **flags)


def test_an_unknown_parallelism_is_refused():
    with pytest.raises(ValueError, match='parallel must be "jit" or "pmap", got \'vmap\''):
        make_parallelism("vmap", jax.devices())
    with pytest.raises(ValueError, match="devices must be one or more, got none"):
        make_parallelism("jit", [])


def test_devices_are_found_by_kind_or_refused():
    assert find_devices("cpu") == jax.devices("cpu")
    assert find_devices("auto") == jax.devices()
    assert describe_device(find_devices("cpu")[0]).startswith("cpu (")
    with pytest.raises(ValueError, match=r"device must be one that JAX finds here .*'abacus'"):
        find_devices("abacus")


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Backend 'x' is not known")])
def test_a_variable_that_leaves_no_device_is_named(monkeypatch, error):
    def fail(*names):
        raise error

    monkeypatch.setenv("JAX_PLATFORMS", "x")
    for name in ("devices", "default_backend"):
        monkeypatch.setattr(jax, name, fail)
    with pytest.raises(ValueError, match=f"none: JAX_PLATFORMS is 'x'.*{error}.*, got 'auto'"):
        find_devices("auto")


def test_a_process_joins_the_coordinator_or_asks_the_cluster(monkeypatch):
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given: calls.append(given))
    initialize_distributed(coordinator="here:1", processes=2, process=1)
    initialize_distributed()
    assert calls == [("here:1", 2, 1), ()]
    with pytest.raises(ValueError, match="process must be from 0 to processes - 1, got 2 of 2"):
        initialize_distributed(coordinator="here:1", processes=2, process=2)
