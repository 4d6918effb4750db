"""Twenty steps in every way that this process can take them: a program for test_devices.py.

    python run_on_devices.py OUTPUT.npz DEVICES [PORT PROCESS]

trains the stand-in network and writes, for each way, its parameters and its loss.
"""

import sys

import jax
import numpy as np
import optax
from flax import nnx

from dilax.training import hosts, wrappers
from dilax.training.epoch import make_train_steps, shuffled_batches
from dilax.training.feeds import Resident, Streamed
from dilax.training.functional import functional
from dilax.training.state import create_state
from dilax.training.step import Totals, make_train_step
from tests.training.network import Network, jitter, labelled_images

IMAGES, BATCH_SIZE, STEPS = 64, 16, 20


def main(output, devices, port=None, process=0):
    jax.config.update("jax_num_cpu_devices", int(devices))
    if port is not None:
        hosts.join(coordinator=f"localhost:{port}", processes=2, process=int(process))
    found = {}
    for way, (wrapper, feed) in ways(jax.devices(), alone=port is None).items():
        state, totals = train(wrapper, feed)
        leaves = jax.tree_util.tree_leaves_with_path(state.params)
        found |= {way + jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
        found[f"{way} loss"] = totals.means()["loss"]
    np.savez(output, **found)


def ways(devices, *, alone):
    """Name the ways to train on as many devices as this process has, and on some of them."""
    counts = (1, 2, 4, 8) if alone else (len(devices),)
    most = devices[: counts[-1]]
    named = {f"sharded {len(most)}": (wrappers.Jit(most, shard_optimizer=True), Resident)}
    for kind, wrapper in {"jit": wrappers.Jit, "pmap": wrappers.Pmap}.items():
        named |= {f"{kind} {n}": (wrapper(devices[:n]), Resident) for n in counts}
        named[f"{kind} {len(most)} streamed"] = (wrapper(most), Streamed)
    return named


def train(wrapper, make_feed):
    optimizer = optax.sgd(0.1, momentum=0.9)
    apply, params, batch_stats = functional(Network(rngs=nnx.Rngs(0)), axis_name=wrapper.axis_name)
    state = create_state(jax.random.key(0), params, batch_stats, optimizer)
    options = {"augment": jitter, "mixup": 0.4, "ema_decay": 0.9}
    step = make_train_step(apply, optimizer, **options, axis_name=wrapper.axis_name)
    run = wrapper.wrap(make_train_steps(step))
    images, labels = (np.asarray(array) for array in labelled_images(IMAGES))
    feed = make_feed(images, labels, wrapper)
    position, data = (wrapper.place_state(state), wrapper.replicate(Totals.zero())), feed.whole()
    for batches in feed.chunks(order()):
        position = run(*position, data, batches)
    return wrappers.local(position)


def order():
    """Twenty batches in two chunks."""
    epochs = range(STEPS * BATCH_SIZE // IMAGES + 1)
    keys = (jax.random.key(epoch) for epoch in epochs)
    rows = [shuffled_batches(key, num_images=IMAGES, batch_size=BATCH_SIZE) for key in keys]
    return np.split(np.concatenate(rows)[:STEPS], 2)


if __name__ == "__main__":
    main(*sys.argv[1:])
