"""The devices and processes of a run: which there are, and what all processes must agree on."""

import os
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from dilax._checks import check_instance, integer
from dilax._processor import processor_name


def find_devices(name: str) -> list[jax.Device]:
    """List the devices of a kind, in all processes.

    Args:
        name: ``"cpu"``, ``"gpu"``, ``"tpu"``, or ``"auto"`` for the kind that JAX prefers.

    Raises:
        ValueError: JAX finds no such device.
        TypeError: ``name`` is not a string.
    """
    check_instance(name, str, "device name")
    try:
        if not name:
            raise RuntimeError("no name")
        return jax.devices(None if name == "auto" else name)
    except (AssertionError, RuntimeError) as error:  # an AssertionError if no backend starts
        raise ValueError(
            f"device must be one that JAX finds here ({_found()}), got {name!r}; "
            'use "auto", or install the jax extra for that device.'
        ) from error


def _found() -> str:
    """Return the kind of device that JAX prefers, or why it has none."""
    try:
        return jax.default_backend()
    except (AssertionError, RuntimeError) as error:
        wanted = f"JAX_PLATFORMS is {os.environ.get('JAX_PLATFORMS')!r}"
        return ": ".join(filter(None, ["none", wanted, str(error).partition("\n")[0]]))


def share_batch(
    devices: Sequence[jax.Device], *, count: int, batch_size: int, accumulate: int = 1
) -> list[jax.Device]:
    """Choose the devices over which a batch is split.

    Args:
        devices: The available devices.
        count: How many to use; 0 for as many as divide the batch. Several processes use all.
        batch_size: Images in a step.
        accumulate: Parts of a batch that each device computes one after the other.

    Raises:
        ValueError: There are fewer devices, or the batch does not divide.
        TypeError: A number is not an integer.

    >>> len(share_batch(["a", "b", "c"], count=0, batch_size=100))
    2
    """
    integer(count, "devices", minimum=0)
    integer(batch_size, "batch_size", minimum=1)
    integer(accumulate, "accumulate", minimum=1)
    if count > len(devices):
        raise ValueError(f"devices must be at most {len(devices)}, got {count}.")
    wanted = count or len(devices)
    fits = [n for n in range(1, wanted + 1) if batch_size % (n * accumulate) == 0]
    if not fits or (fits[-1] != wanted and (count or jax.process_count() > 1)):
        parts = wanted * accumulate
        below, above = batch_size // parts * parts, -(-batch_size // parts) * parts
        near = " or ".join(str(size) for size in (below, above) if size)
        raise ValueError(
            f"batch_size must be a multiple of {parts} ({wanted} devices times {accumulate} "
            f"accumulated parts), got {batch_size}; try {near}."
        )
    return list(devices)[: fits[-1]]


def describe_device(device: jax.Device) -> str:
    """Describe a device for a record.

    Raises:
        TypeError: ``device`` is not a JAX device.

    >>> describe_device(jax.devices("cpu")[0])
    'cpu (..., ... core...)'
    """
    check_instance(device, jax.Device, "device")
    if device.platform != "cpu":
        return f"{device.platform} ({device.device_kind})"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"cpu ({processor_name()}, {cores} core{'s' if cores != 1 else ''})"


def initialize_distributed(
    *, coordinator: str | None = None, processes: int = 0, process: int = 0
) -> None:
    """Make this process one of several that train together; call it before any other use of JAX.

    Args:
        coordinator: ``host:port`` of the first process. None asks the cluster (Slurm, a TPU pod,
            Open MPI, Kubernetes).
        processes: The number of processes; only with ``coordinator``.
        process: The number of this process, from 0; only with ``coordinator``.

    Raises:
        ValueError: ``process`` is not below ``processes``, or no cluster is found.
    """
    if coordinator is None:
        try:
            jax.distributed.initialize()
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"no cluster is found ({str(error).splitlines()[0]}); give coordinator, processes "
                "and process."
            ) from error
        return
    if not 0 <= process < processes:
        raise ValueError(
            f"process must be from 0 to processes - 1, got {process} of {processes} processes."
        )
    jax.distributed.initialize(coordinator, processes, process)


def is_main_process() -> bool:
    """Return whether this process is the one that writes files and prints."""
    return jax.process_index() == 0


def gather_from_processes(number: int) -> np.ndarray:
    """Return the ``number`` of each process; this blocks until every process has called it."""
    return np.asarray(multihost_utils.process_allgather(np.int32(number)))
