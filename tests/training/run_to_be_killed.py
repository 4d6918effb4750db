"""A short run that says when an epoch is over: a program for test_processes.py.

    python run_to_be_killed.py FOLDER [BYTES]

No file that it writes can be larger than BYTES, as on a disk that is full.
"""

import resource
import sys
from pathlib import Path

import jax
import numpy as np

from dilax.training import Plan
from tests.training.network import run_shortly

PLAN = Plan(num_examples=32, batch_size=8, epochs=40)


def main(folder, most_bytes=None):
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(most_bytes),) * 2)
    fitted = run_shortly(Path(folder), PLAN, config={}, validate=say)
    leaves = jax.tree.leaves((fitted.state.params, fitted.state.opt_state, fitted.state.ema))
    np.savez(Path(folder) / "final.npz", *leaves)


def say(state):
    """Print that an epoch is complete, in place of validation; make its line of metrics long."""
    print(int(state.step), flush=True)
    return {"loss": 0.0, "accuracy": 0.0} | {f"filler_{n}": 0.0 for n in range(12)}


if __name__ == "__main__":
    main(*sys.argv[1:])
