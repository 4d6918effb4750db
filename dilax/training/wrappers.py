"""How the pure functions reach the hardware: one wrapper a way, one interface for all.

A wrapper takes `train_steps(state, totals, data, batches) -> (state, totals)` and gives back a
function of the same signature that runs it on several devices, in one process or in many. State,
totals and data are replicated, the batches split; the steps themselves know nothing of it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.stages import Wrapped

from dilax._checks import entries
from dilax.training.epoch import TrainSteps
from dilax.training.state import TrainState

Pytree = Any
AXIS = "devices"


class Wrapper(Protocol):
    """One way to run training steps."""

    @property
    def devices(self) -> Sequence[jax.Device]:
        """Those that share a batch, of all processes."""

    @property
    def axis_name(self) -> str | None:
        """The mapped axis that a step must reduce over; None where XLA does it."""

    def wrap(self, train_steps: TrainSteps) -> Wrapped:
        """Make the function that runs on the devices; it has `lower`."""

    def replicate(self, tree: Pytree) -> Pytree:
        """Put the same arrays where every device can read them."""

    def place_state(self, state: TrainState) -> TrainState:
        """Put a state where the wrapped function wants it."""

    def split(self, batches: Pytree) -> Pytree:
        """Spread `(steps, batch_size, ...)` host arrays over the devices, along the second axis."""


@dataclasses.dataclass(frozen=True)
class Jit:
    """One program for all devices: XLA splits the batch and adds what is missing.

    Numbers are those of one device, to rounding; statistics of batch normalisation are of the
    whole batch. On one device it is plain `jax.jit`.
    """

    devices: Sequence[jax.Device]
    """Of all processes."""
    shard_optimizer: bool = False
    """Whether each device keeps only its share of what the optimiser remembers."""

    axis_name = None

    def wrap(self, train_steps: TrainSteps) -> Wrapped:
        """Compile with state and totals donated: their memory is reused."""

        def placed(*arguments: Any) -> tuple[TrainState, Any]:
            state, totals = train_steps(*arguments)
            constrained = jax.lax.with_sharding_constraint
            return constrained(state, self._of_state(state)), constrained(totals, self._same)

        return jax.jit(placed, donate_argnums=(0, 1))

    def replicate(self, tree: Pytree) -> Pytree:
        """Put the same arrays on every device."""
        return jax.tree.map(lambda leaf: _put(leaf, self._same), tree)

    def place_state(self, state: TrainState) -> TrainState:
        """Replicate a state, but for the optimiser's part where that is sharded."""
        return jax.tree.map(_put, state, self._of_state(state))

    def split(self, batches: Pytree) -> Pytree:
        """Give each device its columns."""
        columns = self._sharding(None, AXIS)
        return jax.tree.map(lambda leaf: _put(leaf, columns), batches)

    @property
    def _same(self) -> NamedSharding:
        return self._sharding()

    def _sharding(self, *axes: str | None) -> NamedSharding:
        return NamedSharding(Mesh(np.asarray(self.devices), (AXIS,)), PartitionSpec(*axes))

    def _of_state(self, state: TrainState) -> TrainState:
        same = jax.tree.map(lambda leaf: self._same, state)
        if not self.shard_optimizer:
            return same
        return dataclasses.replace(same, opt_state=jax.tree.map(self._share, state.opt_state))

    def _share(self, leaf: jax.Array) -> NamedSharding:
        """Split the first axis that divides into as many parts as there are devices."""
        axes = [AXIS if size % len(self.devices) == 0 else None for size in leaf.shape]
        first = axes.index(AXIS) if AXIS in axes else len(axes)
        return self._sharding(*([None] * first), *axes[first : first + 1])


@dataclasses.dataclass(frozen=True)
class Pmap:
    """One replica of the state on each device, gradients averaged over a named axis."""

    devices: Sequence[jax.Device]
    """Of all processes."""

    axis_name = AXIS

    def wrap(self, train_steps: TrainSteps) -> Wrapped:
        """Compile for replicas that stay equal, so that one of them is given back."""
        return self._map(train_steps, axis_name=AXIS, in_axes=(None, None, None, 1))

    def replicate(self, tree: Pytree) -> Pytree:
        """Put the same arrays on every device of this process, as pmap itself gives them back."""
        copy = self._map(lambda tree, _: tree, in_axes=(None, 0))
        return copy(tree, np.zeros(len(self._local)))

    def place_state(self, state: TrainState) -> TrainState:
        """Put a replica of a state on every device of this process."""
        return self.replicate(state)

    def split(self, batches: Pytree) -> Pytree:
        """Give `(steps, devices of this process, share, ...)`."""
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


def local(tree: Pytree) -> Pytree:
    """Give arrays that every device holds in full as arrays of one device of this process."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def make(name: str, devices: Sequence[jax.Device], *, shard_optimizer: bool = False) -> Wrapper:
    """Make a wrapper by its name, "jit" or "pmap".

    Raises:
        ValueError: there is no such wrapper, or no device.
        TypeError: the devices are not several.
    """
    devices = entries(devices, "devices", "devices")
    if not devices:
        raise ValueError("devices must be one or more, received none")
    if name == "jit":
        return Jit(devices, shard_optimizer=shard_optimizer)
    if name == "pmap":
        return Pmap(devices)
    raise ValueError(f'parallel must be "jit" or "pmap", received {name!r}')


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """Put an array that every process has in full where `sharding` says."""
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        raw = _put(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(raw, impl=jax.random.key_impl(leaf))
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])
