"""Twenty steps in every way that this process can take them: a program for test_processes.py.

    python run_on_devices.py OUTPUT.npz DEVICES [PORT PROCESS]

trains the stand-in network and writes, for each way, its parameters and its loss.
"""

import sys

import jax
import numpy as np
import optax

from dilax.training import (
    Classification,
    Jit,
    Pmap,
    ResidentLoader,
    StreamingLoader,
    Totals,
    initialize_distributed,
    make_train_steps,
    shuffled_batches,
    unreplicate,
)
from tests.training.network import labelled_images, training

IMAGES, BATCH_SIZE, STEPS = 64, 16, 20
TASK = Classification()


def main(output, devices, port=None, process=0):
    jax.config.update("jax_num_cpu_devices", int(devices))
    if port is not None:
        initialize_distributed(coordinator=f"localhost:{port}", processes=2, process=int(process))
    found = {}
    for way, (parallelism, loader) in ways(jax.devices(), alone=port is None).items():
        state, totals = train(parallelism, loader)
        leaves = jax.tree_util.tree_leaves_with_path(state.params)
        found |= {way + jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
        found[f"{way} loss"] = totals.means(TASK)["loss"]
    np.savez(output, **found)


def ways(devices, *, alone):
    """Name the ways to train on as many devices as this process has, and on some of them."""
    counts = (1, 2, 4, 8) if alone else (len(devices),)
    most = devices[: counts[-1]]
    named = {f"sharded {len(most)}": (Jit(most, shard_optimizer=True), ResidentLoader)}
    for kind, make in {"jit": Jit, "pmap": Pmap}.items():
        named |= {f"{kind} {n}": (make(devices[:n]), ResidentLoader) for n in counts}
        named[f"{kind} {len(most)} streamed"] = (make(most), StreamingLoader)
    return named


def train(parallelism, make_loader):
    state, step, _ = training(
        optimizer=optax.sgd(0.1, momentum=0.9), axis_name=parallelism.axis_name, mixup=0.4
    )
    run = parallelism.wrap(make_train_steps(step))
    loader = make_loader(jax.tree.map(np.asarray, labelled_images(IMAGES)), parallelism)
    position = parallelism.place_state(state), parallelism.replicate(Totals.zero(TASK))
    data = loader.data()
    for batches in loader.chunks(order()):
        position = run(*position, data, batches)
    return unreplicate(position)


def order():
    """Twenty batches in two chunks."""
    epochs = range(STEPS * BATCH_SIZE // IMAGES + 1)
    keys = (jax.random.key(epoch) for epoch in epochs)
    rows = [shuffled_batches(key, num_examples=IMAGES, batch_size=BATCH_SIZE) for key in keys]
    return np.split(np.concatenate(rows)[:STEPS], 2)


if __name__ == "__main__":
    main(*sys.argv[1:])
