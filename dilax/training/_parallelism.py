"""Ways to run training steps on several devices, and to send them the examples.

A parallelism takes ``train_steps(state, totals, data, batches) -> (state, totals)`` and returns a
function of that signature that runs on all its devices, in one process or in several. State, totals
and data are replicated, batches are split. A loader says what data and batches are: all examples
and indices into them, or nothing and examples.
"""

import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.stages import Wrapped

from dilax._checks import entries
from dilax.training._epoch import TrainSteps
from dilax.training._state import TrainState
from dilax.training._totals import Batch

Pytree = Any
AXIS = "devices"


class Parallelism(Protocol):
    """A way to run training steps on several devices."""

    @property
    def devices(self) -> Sequence[jax.Device]:
        """The devices that share a batch, in all processes."""

    @property
    def axis_name(self) -> str | None:
        """The mapped axis over which a step must average; None where XLA does."""

    def wrap(self, train_steps: TrainSteps) -> Wrapped:
        """Build the function that runs on the devices; it has ``lower``."""

    def replicate(self, tree: Pytree) -> Pytree:
        """Copy arrays to every device."""

    def place_state(self, state: TrainState) -> TrainState:
        """Place a state as the wrapped function expects it."""

    def split(self, batches: Pytree) -> Pytree:
        """Split host arrays ``(steps, batch_size, ...)`` over the devices along the second axis."""


@dataclasses.dataclass(frozen=True)
class Jit:
    """One program for all devices: XLA partitions the batch and inserts the reductions.

    Results equal those of one device up to rounding, and batch normalisation sees the whole batch.
    On one device this is plain ``jax.jit``.
    """

    devices: Sequence[jax.Device]
    """The devices of all processes."""
    shard_optimizer: bool = False
    """Whether each device keeps only its share of the optimiser's state."""

    axis_name = None

    def wrap(self, train_steps: TrainSteps) -> Wrapped:
        """Compile with state and totals donated, so that their memory is reused."""

        def placed(*arguments: Any) -> tuple[TrainState, Any]:
            state, totals = train_steps(*arguments)
            constrained = jax.lax.with_sharding_constraint
            return constrained(state, self._of_state(state)), constrained(totals, self._sharding())

        return jax.jit(placed, donate_argnums=(0, 1))

    def replicate(self, tree: Pytree) -> Pytree:
        """Copy arrays to every device."""
        return jax.tree.map(lambda leaf: _put(leaf, self._sharding()), tree)

    def place_state(self, state: TrainState) -> TrainState:
        """Replicate a state, except for the optimiser's part if that is sharded."""
        return jax.tree.map(_put, state, self._of_state(state))

    def split(self, batches: Pytree) -> Pytree:
        """Split host arrays over the devices along the second axis."""
        columns = self._sharding(None, AXIS)
        return jax.tree.map(lambda leaf: _put(leaf, columns), batches)

    def _sharding(self, *axes: str | None) -> NamedSharding:
        return NamedSharding(Mesh(np.asarray(self.devices), (AXIS,)), PartitionSpec(*axes))

    def _of_state(self, state: TrainState) -> TrainState:
        replicated = jax.tree.map(lambda leaf: self._sharding(), state)
        if not self.shard_optimizer:
            return replicated
        return dataclasses.replace(replicated, opt_state=jax.tree.map(self._share, state.opt_state))

    def _share(self, leaf: jax.Array) -> NamedSharding:
        """Shard the first axis that the number of devices divides."""
        axes = [AXIS if size % len(self.devices) == 0 else None for size in leaf.shape]
        first = axes.index(AXIS) if AXIS in axes else len(axes)
        return self._sharding(*([None] * first), *axes[first : first + 1])


@dataclasses.dataclass(frozen=True)
class Pmap:
    """One replica of the state on each device, with gradients averaged over a named axis."""

    devices: Sequence[jax.Device]
    """The devices of all processes."""

    axis_name = AXIS

    def wrap(self, train_steps: TrainSteps) -> Wrapped:
        """Compile for replicas; they stay equal, so only one is returned."""
        return self._map(train_steps, axis_name=AXIS, in_axes=(None, None, None, 1))

    def replicate(self, tree: Pytree) -> Pytree:
        """Copy arrays to every device of this process, placed as ``pmap`` returns them."""
        copy = self._map(lambda tree, _: tree, in_axes=(None, 0))
        return copy(tree, np.zeros(len(self._local)))

    def place_state(self, state: TrainState) -> TrainState:
        """Copy a state to every device of this process."""
        return self.replicate(state)

    def split(self, batches: Pytree) -> Pytree:
        """Reshape host arrays to ``(steps, devices of this process, share, ...)``."""
        owners = [device.process_index for device in self.devices]
        first, count = owners.index(jax.process_index()), len(self._local)

        def part(leaf: Any) -> Any:
            steps, batch_size, *rest = leaf.shape
            shares = np.asarray(leaf).reshape(steps, len(owners), batch_size // len(owners), *rest)
            return shares[:, first : first + count]

        return jax.tree.map(part, batches)

    def _map(self, function: Callable, **options: Any) -> Wrapped:
        devices = None if jax.process_count() > 1 else list(self.devices)
        return jax.pmap(function, out_axes=None, devices=devices, **options)

    @property
    def _local(self) -> list[jax.Device]:
        return [device for device in self.devices if device.process_index == jax.process_index()]


def make_parallelism(
    name: str, devices: Sequence[jax.Device], *, shard_optimizer: bool = False
) -> Parallelism:
    """Create a parallelism by its name, ``"jit"`` or ``"pmap"``.

    Raises:
        ValueError: The name is neither, or there is no device.
        TypeError: ``devices`` is not a sequence.
    """
    devices = entries(devices, "devices", "devices")
    if not devices:
        raise ValueError("devices must be one or more, got none.")
    if name == "jit":
        return Jit(devices, shard_optimizer=shard_optimizer)
    if name == "pmap":
        return Pmap(devices)
    raise ValueError(f'parallel must be "jit" or "pmap", got {name!r}.')


def unreplicate(tree: Pytree) -> Pytree:
    """Return replicated arrays as arrays on one device of this process."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


class Loader(Protocol):
    """A way to send the training examples to the devices."""

    def data(self) -> Batch | None:
        """Return what every call of the training steps receives; None for nothing."""

    def chunks(self, rows: Iterable[np.ndarray]) -> Iterator[Any]:
        """Iterate over the batches of each call, for indices ``(steps, batch_size)``."""


@dataclasses.dataclass(frozen=True)
class ResidentLoader:
    """Keeps all examples on the device; a chunk is indices into them."""

    examples: Batch
    """NumPy arrays."""
    parallelism: Parallelism

    def data(self) -> Batch:
        """Copy all examples to the device."""
        return self.parallelism.replicate(jax.tree.map(jnp.asarray, self.examples))

    def chunks(self, rows: Iterable[np.ndarray]) -> Iterator[Any]:
        """Iterate over the indices."""
        return map(self.parallelism.split, rows)


@dataclasses.dataclass(frozen=True)
class StreamingLoader:
    """Keeps the examples on the host; a chunk is examples, gathered while the device computes.

    It is for sets larger than the device's memory, which holds two chunks at a time. Every step
    sees the same examples as with ``ResidentLoader``.
    """

    examples: Batch
    """NumPy arrays or ``np.memmap``."""
    parallelism: Parallelism

    def data(self) -> None:
        """Return None: nothing stays on the device."""

    def chunks(self, rows: Iterable[np.ndarray]) -> Iterator[Any]:
        """Iterate over the examples, ``(steps, batch_size, ...)``."""
        with concurrent.futures.ThreadPoolExecutor(max_workers=1) as ahead:
            coming = None
            for row in rows:
                gathered, coming = coming, ahead.submit(self._gather, row)
                if gathered is not None:
                    yield gathered.result()
            if coming is not None:
                yield coming.result()

    def _gather(self, rows: np.ndarray) -> Any:
        return self.parallelism.split(tuple(self.examples.take(rows)))


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """Place an array that every process holds in full."""
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        raw = _put(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(raw, impl=jax.random.key_impl(leaf))
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])
