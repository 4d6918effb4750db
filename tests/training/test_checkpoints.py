"""Checkpoints: bit for bit, or noticed as damaged and skipped."""

import os
import re
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dilax.training import CheckpointError, Checkpoints, _checkpoints
from dilax.training._checkpoints import find_damage
from tests.training.network import assert_equal_trees, training

PACKAGE = "dilax.training._checkpoints"
CONFIG = {"epochs": 3, "model": "tiny", "shift": (1, 2)}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A folder with the checkpoints of steps 4 and 8, and what they hold."""
    folder = tmp_path_factory.mktemp("original") / "checkpoints"
    states = [training(seed=seed)[0] for seed in (4, 8)]
    with Checkpoints(folder, config=CONFIG) as checkpoints:
        for step, state in zip((4, 8), states, strict=True):
            checkpoints.save(step, state, notes={"seconds": step / 2})
    return folder, dict(zip((4, 8), states, strict=True))


@pytest.fixture
def saved(original, tmp_path):
    """A copy that a test may damage."""
    folder, states = original
    shutil.copytree(folder, tmp_path / "checkpoints")
    return tmp_path / "checkpoints", states


def restore(folder, like, *, config=CONFIG, **options):
    with Checkpoints(folder, config=config) as checkpoints:
        return checkpoints.restore(like, **options)


@pytest.mark.parametrize("step", [4, None])
def test_a_state_comes_back_bit_for_bit_with_its_notes(original, step):
    """That of a step, or the newest."""
    folder, states = original
    restored = restore(folder, training(seed=1)[0], step=step)
    assert_equal_trees(restored.tree, states[step or 8])
    assert jnp.issubdtype(restored.tree.key.dtype, jax.dtypes.prng_key)
    assert restored.notes == {"seconds": (step or 8) / 2}
    assert restored.skipped == []


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_two_and_the_best_are_kept(tmp_path):
    state, _, _ = training()
    (tmp_path / "a file of the user's").touch()
    with Checkpoints(tmp_path, config={}) as checkpoints:
        for step in range(1, 6):
            checkpoints.save(step, state, notes={}, best=2)
        checkpoints.wait()
        assert checkpoints.steps == [5, 4, 2]
    kept = ["2", "2.sha256", "4", "4.sha256", "5", "5.sha256", "a file of the user's"]
    assert names(tmp_path) == kept


def test_a_run_that_went_back_forgets_where_it_had_been(saved):
    folder, states = saved
    with Checkpoints(folder, config=CONFIG) as checkpoints:
        checkpoints.save(6, states[4], notes={})
    assert names(folder) == ["4", "4.sha256", "6", "6.sha256"]


def test_a_step_can_be_saved_again(saved):
    folder, states = saved
    with Checkpoints(folder, config=CONFIG) as checkpoints:
        checkpoints.save(8, states[4], notes={"again": True})
    restored = restore(folder, states[4])
    assert restored.notes == {"again": True}
    assert_equal_trees(restored.tree, states[4])


def test_saving_copies_so_the_next_step_may_reuse_the_buffers(tmp_path):
    forget = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0 - 1, tree), donate_argnums=0)
    array = jnp.arange(1000.0)
    with Checkpoints(tmp_path, config={}) as checkpoints:
        checkpoints.save(1, {"array": array}, notes={})
        forget({"array": array})
    restored = restore(tmp_path, {"array": jnp.zeros(1000)}, config={})
    assert restored.tree["array"].tolist() == list(range(1000))


def test_another_configuration_is_refused_by_name(original):
    folder, states = original
    config = {"epochs": 5, "model": "tiny", "limit": 7}
    message = (
        r"another configuration: epochs was 3, now is 5; "
        r"limit was \(nothing\), now is 7; shift was \[1, 2\], now is \(nothing\); "
        r"resume with the same one"
    )
    with pytest.raises(CheckpointError, match=message):
        restore(folder, states[4], config=config)


def test_other_arrays_are_refused_by_name(original):
    folder, _ = original
    other, _, _ = training(normalise=False)
    message = r"another arrays.*\.batch_stats\['norm'\]\['mean'\] was float32\[4\]"
    with pytest.raises(CheckpointError, match=message):
        restore(folder, other)


def test_an_empty_folder_has_nothing_to_restore(tmp_path):
    assert restore(tmp_path / "checkpoints", {}, config={}) is None
    assert not (tmp_path / "checkpoints").exists()


def files_of(folder, step):
    return sorted(path for path in (folder / str(step)).rglob("*") if path.is_file())


def cut_a_file_short(folder):
    path = files_of(folder, 8)[0]
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_a_file_short, r"checkpoint 8 is damaged: 8/.* has another content than was written"),
        (lambda folder: shutil.rmtree(folder / "8"), "checkpoint 8 is damaged: 8/.* is missing"),
        (
            lambda folder: (folder / "8.sha256").unlink(),
            r"checkpoint 8 is incomplete: 8\.sha256 is missing",
        ),
    ],
)
def test_of_a_damaged_or_unfinished_checkpoint_the_one_before_is_used(saved, damage, message):
    folder, states = saved
    damage(folder)
    restored = restore(folder, training(seed=1)[0])
    assert_equal_trees(restored.tree, states[4])
    assert len(restored.skipped) == 1 and re.fullmatch(message, restored.skipped[0])


def test_any_flipped_bit_is_noticed(saved, long):
    """At 2,000 random places, or at 200 without --long, of all files there are.

    And every bit that ends a line of the manifest: a vertical tab is among what they become, at
    which Python's ``splitlines`` ends a line, too.
    """
    folder, _ = saved
    manifest, random = folder / "8.sha256", np.random.default_rng(0)
    whole = manifest.read_bytes()
    flips = [(manifest, place, bit) for place in (whole.index(b"\n"), -1) for bit in range(8)]
    for path in random.choice([*files_of(folder, 8), manifest], 2000 if long else 200):
        flips.append((path, random.integers(path.stat().st_size), random.integers(8)))
    for path, place, bit in flips:
        content = path.read_bytes()
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        assert find_damage(manifest, folder / "8") is not None
        path.write_bytes(content)
    assert find_damage(manifest, folder / "8") is None


def test_any_truncated_missing_or_added_file_is_noticed(saved):
    folder, _ = saved

    def damage():
        return find_damage(folder / "8.sha256", folder / "8")

    for path in files_of(folder, 8):
        content, name = path.read_bytes(), path.relative_to(folder).as_posix()
        path.write_bytes(content[:-1])
        assert damage() == f"{name} has another content than was written"
        path.unlink()
        assert damage() == f"{name} is missing"
        path.write_bytes(content)
    (folder / "8" / "new").touch()
    assert damage() == "8/new was added"


def test_only_damaged_checkpoints_are_an_error(saved):
    folder, states = saved
    for step in (4, 8):
        files_of(folder, step)[0].write_text("?")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be used: .* 8 .* 4 is dam"):
        restore(folder, states[4])


def test_a_save_that_fails_is_said_at_the_next_one_and_earlier_ones_stay(saved, monkeypatch):
    folder, states = saved
    before = names(folder)
    with Checkpoints(folder, config=CONFIG) as checkpoints:

        def full(*arguments, **options):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoints._orbax, "save", full)
        checkpoints.save(12, states[4], notes={})
        with pytest.raises(CheckpointError, match=r"checkpoint 12 could not .* No space left on"):
            checkpoints.save(16, states[4], notes={})
    assert names(folder) == before
    assert_equal_trees(restore(folder, states[4]).tree, states[8])


class Killed(BaseException):
    """What no handler of errors catches, as no handler catches a kill."""


@pytest.mark.parametrize("where", ["write_json", "write_manifest", "os.replace"])
def test_a_kill_within_a_save_leaves_the_one_before(saved, monkeypatch, where):
    """Before the notes, before the manifest, and before the manifest gets its name."""
    folder, states = saved

    def kill(source, *arguments):
        if where != "os.replace" or str(source).endswith(".sha256.partial"):
            raise Killed
        return replace(source, *arguments)

    replace = os.replace
    monkeypatch.setattr(where if where == "os.replace" else f"{PACKAGE}.{where}", kill)
    with pytest.raises(Killed), Checkpoints(folder, config=CONFIG) as checkpoints:
        checkpoints.save(12, states[4], notes={})
    monkeypatch.undo()
    restored = restore(folder, states[4])
    assert_equal_trees(restored.tree, states[8])
    assert restored.skipped == ["checkpoint 12 is incomplete: 12.sha256 is missing"]
    with Checkpoints(folder, config=CONFIG) as checkpoints:
        checkpoints.save(12, states[4], notes={})
    assert_equal_trees(restore(folder, states[8]).tree, states[4])


def test_sha256sum_reads_the_manifest(original):
    folder, _ = original
    command = ["sha256sum", "--check", "--strict", "8.sha256"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(": OK\n") == len(files_of(folder, 8))


def test_only_the_main_process_saves(tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoints, "is_main_process", lambda: False)
    with Checkpoints(tmp_path / "checkpoints", config={}) as checkpoints:
        checkpoints.save(1, {"array": jnp.ones(3)}, notes={})
    assert not (tmp_path / "checkpoints").exists()
