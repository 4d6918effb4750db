"""The program as two processes: it ends, says and writes once, and goes on where it was."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from dilax import data

ROOT = Path(__file__).parents[2]
QUICK = "--model mnist_tutorial --epochs 1 --batch-size 32 --learning-rate 0.005 --no-pictures"


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def together(*flags):
    """Run the program as two processes of two devices each; give what each printed."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiles fast
    }
    joined = ["--distributed", "--coordinator", f"localhost:{free_port()}", "--processes", "2"]
    program = [sys.executable, str(ROOT / "experiments" / "mnist_dsdc.py"), *flags, *joined]
    processes = [
        subprocess.Popen(
            [*program, "--process", str(number)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        printed = [process.communicate(timeout=150) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, printed, strict=True):
        assert process.returncode == 0, errors
    return [out for out, _ in printed]


def test_a_run_of_two_processes_ends_and_is_found_again(tmp_path):
    splits = data.load("mnist").splits
    arrays = {f"{name}_images": split.images[:256] for name, split in splits.items()}
    labels = {f"{name}_labels": split.labels[:256] for name, split in splits.items()}
    np.savez(tmp_path / "digits.npz", **arrays, **labels)
    output = tmp_path / "run"
    first, second = together(
        *QUICK.split(), "--dataset", str(tmp_path / "digits.npz"), "--output", str(output)
    )
    assert "test accuracy" in first and "test accuracy" not in second
    summary = json.loads((output / "summary.json").read_text())
    assert (summary["devices"], summary["processes"]) == (4, 2)
    assert [path.name for path in (output / "checkpoints").glob("*.sha256")] == ["8.sha256"]

    together("--output", str(output), "--resume", "--no-pictures")
    after = json.loads((output / "summary.json").read_text())
    assert after["test_accuracy"] == summary["test_accuracy"]
