"""One device equals many, in one process and in two: each way in a process of its own.

Parameters after 20 steps agree to 1e-5 of the greatest: a bias before a normalisation has no
gradient but rounding, so relative to itself it has no meaning.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.processes import environment, free_port

PROGRAM = Path(__file__).with_name("run_on_devices.py")
REFERENCE = "jit 1"
LIMIT = 1e-5


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        env=environment(),
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
    finish(start(output, 8))
    return by_way(output)


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory):
    outputs = [tmp_path_factory.mktemp("two") / f"process_{n}.npz" for n in range(2)]
    port = free_port()
    finish(*(start(output, 2, port, n) for n, output in enumerate(outputs)))
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
