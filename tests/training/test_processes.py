"""Training in processes of its own: on eight devices, in two processes, killed, on a full disk.

All are long; test_parallelism.py, test_checkpoints.py and test_loop.py have a short form of each.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dilax.training import Checkpoints
from tests.processes import environment, free_port

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
REFERENCE = "jit 1"
LIMIT = 1e-5
"""Of the largest parameter: a bias before a normalisation has no gradient but rounding."""
EPOCHS, STEPS_PER_EPOCH, KILLS = 40, 4, 30


def start(program, *arguments):
    return subprocess.Popen(
        [sys.executable, str(HERE / program), *map(str, arguments)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes):
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors


@pytest.fixture(scope="module")
def on_eight(tmp_path_factory):
    output = tmp_path_factory.mktemp("eight") / "eight.npz"
    finish(start("run_on_devices.py", output, 8))
    return by_way(output)


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory):
    outputs = [tmp_path_factory.mktemp("two") / f"process_{n}.npz" for n in range(2)]
    port = free_port()
    finish(*(start("run_on_devices.py", output, 2, port, n) for n, output in enumerate(outputs)))
    return [by_way(output) for output in outputs]


def by_way(output):
    """Losses and flat parameters of each way."""
    with np.load(output) as arrays:
        ways = [name.removesuffix(" loss") for name in arrays if name.endswith(" loss")]
        return {
            way: (
                float(arrays[f"{way} loss"]),
                np.concatenate([arrays[n].ravel() for n in arrays if n.startswith(f"{way}[")]),
            )
            for way in ways
        }


def assert_as_on_one_device(found, reference):
    loss, params = reference
    assert found[0] == pytest.approx(loss, rel=1e-6)
    assert np.abs(found[1] - params).max() <= LIMIT * np.abs(params).max()


OF_EIGHT = ["jit 2", "jit 8", "jit 8 streamed", "sharded 8", "pmap 1", "pmap 2", "pmap 8"]
OF_EIGHT += ["pmap 8 streamed"]


@pytest.mark.parametrize("way", OF_EIGHT)
def test_any_number_of_devices_is_one(on_eight, way):
    assert_as_on_one_device(on_eight[way], on_eight[REFERENCE])


@pytest.mark.parametrize(
    "way", ["jit 4", "jit 4 streamed", "sharded 4", "pmap 4", "pmap 4 streamed"]
)
def test_two_processes_of_two_devices_are_one_of_four(on_eight, of_two_processes, way):
    for process in of_two_processes:
        assert_as_on_one_device(process[way], on_eight["pmap 4" if "pmap" in way else "jit 4"])
        assert_as_on_one_device(process[way], on_eight[REFERENCE])


def start_run(folder, *arguments):
    folder.mkdir(exist_ok=True)
    return start("run_to_be_killed.py", folder, *arguments)


def killed(folder, epochs, seconds):
    """Kill a run some seconds after some epochs, if it has not ended before; whether it was."""
    process = start_run(folder)
    for _ in range(epochs):
        process.stdout.readline()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    return process.returncode < 0


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, EPOCHS + 1))
    return [(line["step"], line["train_loss"], line["train_accuracy"]) for line in lines]


def assert_same_end(folder, unbroken):
    with np.load(folder / "final.npz") as found, np.load(unbroken / "final.npz") as wanted:
        assert list(found) == list(wanted)
        for name in wanted:
            np.testing.assert_array_equal(found[name], wanted[name])
    assert metrics(folder) == metrics(unbroken)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    finish(start_run(folder))
    return folder


def test_a_killed_run_resumes_exactly(tmp_path, unbroken):
    random = np.random.default_rng(0)
    folders = (tmp_path / f"run_{number}" for number in range(1000))
    folder, kills = next(folders), 0
    while kills < KILLS:
        if killed(folder, random.integers(1, 6), random.uniform(0, 0.2)):
            kills += 1
        else:
            assert_same_end(folder, unbroken)
            folder = next(folders)
    finish(start_run(folder))
    assert_same_end(folder, unbroken)


def test_a_full_disk_ends_the_run_with_one_clear_error_and_all_is_kept(tmp_path, unbroken):
    folder = tmp_path / "run"
    process = start_run(folder, 15_000)
    _, errors = process.communicate(timeout=300)
    said = errors.strip().splitlines()[-1]
    assert process.returncode == 1
    assert "SaveError: checkpoint" in said and "ERROR:absl" not in errors
    assert ": File too large; " in said
    with Checkpoints(folder / "checkpoints", config={}) as checkpoints:
        reached = checkpoints.steps[0]
    assert 0 < reached < EPOCHS * STEPS_PER_EPOCH
    finish(start_run(folder))
    assert_same_end(folder, unbroken)
