import jax
import jax.numpy as jnp
import pytest

from dilax.training.checkpoint import CheckpointError, Checkpoints
from tests.training.network import assert_equal_trees, training

CONFIG = {"epochs": 3, "model": "tiny", "shift": (1, 2)}


@pytest.fixture
def saved(tmp_path):
    state, _, _ = training()
    with Checkpoints(tmp_path / "checkpoints", config=CONFIG) as checkpoints:
        checkpoints.save(4, state, notes={"seconds": 1.5})
    return tmp_path / "checkpoints", state


def test_a_state_comes_back_bit_for_bit_with_its_notes(saved):
    folder, state = saved
    other, _, _ = training(seed=1)
    with Checkpoints(folder, config=CONFIG) as checkpoints:
        assert checkpoints.latest_step == 4
        restored, notes = checkpoints.restore(other)
    assert_equal_trees(restored, state)
    assert jnp.issubdtype(restored.key.dtype, jax.dtypes.prng_key)
    assert notes == {"seconds": 1.5}


def test_only_the_newest_is_kept_and_the_same_step_is_saved_once(saved):
    folder, state = saved
    with Checkpoints(folder, config=CONFIG) as checkpoints:
        checkpoints.save(4, state, notes={})
        checkpoints.save(8, state, notes={"seconds": 2.0})
    assert [path.name for path in folder.iterdir() if path.name.isdigit()] == ["8"]
    with Checkpoints(folder, config=CONFIG) as checkpoints:
        assert checkpoints.restore(state)[1] == {"seconds": 2.0}


def test_saving_copies_so_the_next_step_may_reuse_the_buffers(tmp_path):
    forget = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0 - 1, tree), donate_argnums=0)
    array = jnp.arange(1000.0)
    with Checkpoints(tmp_path, config={}) as checkpoints:
        checkpoints.save(1, {"array": array}, notes={})
        forget({"array": array})
    with Checkpoints(tmp_path, config={}) as checkpoints:
        restored, _ = checkpoints.restore({"array": jnp.zeros(1000)})
    assert restored["array"].tolist() == list(range(1000))


def test_another_configuration_is_refused_by_name(saved):
    folder, state = saved
    config = {"epochs": 5, "model": "tiny", "limit": 7}
    with (
        Checkpoints(folder, config=config) as checkpoints,
        pytest.raises(
            CheckpointError,
            match=r"another configuration: epochs was 3, now is 5; "
            r"limit was \(nothing\), now is 7; shift was \[1, 2\], now is \(nothing\); "
            r"resume with what it was saved with",
        ),
    ):
        checkpoints.restore(state)


def test_other_arrays_are_refused_by_name(saved):
    folder, _ = saved
    other, _, _ = training(normalise=False)
    with (
        Checkpoints(folder, config=CONFIG) as checkpoints,
        pytest.raises(
            CheckpointError,
            match=r"another arrays.*\.batch_stats\['norm'\]\['mean'\] was float32\[4\]",
        ),
    ):
        checkpoints.restore(other)


def test_no_checkpoint_is_said_so(tmp_path):
    with (
        Checkpoints(tmp_path, config={}) as checkpoints,
        pytest.raises(CheckpointError, match="holds no checkpoint; start the run without resume"),
    ):
        checkpoints.restore({})


def test_altered_bytes_are_refused(saved):
    folder, state = saved
    largest = max(
        (path for path in (folder / "4" / "state").rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with (
        Checkpoints(folder, config=CONFIG) as checkpoints,
        pytest.raises(CheckpointError, match="start the run anew"),
    ):
        checkpoints.restore(state)


def test_truncated_bytes_are_refused(saved):
    folder, state = saved
    for path in (folder / "4" / "state").rglob("*"):
        if path.is_file() and path.stat().st_size > 100:
            path.write_bytes(path.read_bytes()[:50])
    with (
        Checkpoints(folder, config=CONFIG) as checkpoints,
        pytest.raises(
            CheckpointError, match=r"checkpoint 4 in .* cannot be read .*start the run anew"
        ),
    ):
        checkpoints.restore(state)
