"""Which device computes, and what it is called."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import jax

from dilax._checks import check_instance, integer


def find_devices(name: str) -> list[jax.Device]:
    """Give the devices of a kind, of all processes.

    Args:
        name: "cpu", "gpu", "tpu", or "auto" for the kind that JAX prefers.

    Raises:
        ValueError: JAX finds no such device.
    """
    check_instance(name, str, "device name")
    try:
        if not name:
            raise RuntimeError("no name")
        return jax.devices(None if name == "auto" else name)
    except RuntimeError as error:
        raise ValueError(
            f"device must be one that JAX finds here ({jax.default_backend()}), received {name!r}; "
            'use "auto", or install the jax extra for that device'
        ) from error


def share_batch(
    devices: Sequence[jax.Device], *, count: int, batch_size: int, accumulate: int = 1
) -> list[jax.Device]:
    """Choose the devices that a batch is shared out to.

    Args:
        devices: those there are.
        count: how many to take; 0 for as many as divide the batch. Several processes take all.
        batch_size: images in a step.
        accumulate: parts of a batch that each device takes one after the other.

    Raises:
        ValueError: there are not so many, or the batch does not divide.

    >>> len(share_batch(["a", "b", "c"], count=0, batch_size=100))
    2
    """
    integer(count, "devices", minimum=0)
    integer(batch_size, "batch_size", minimum=1)
    integer(accumulate, "accumulate", minimum=1)
    if count > len(devices):
        raise ValueError(f"devices must be at most {len(devices)}, received {count}")
    wanted = count or len(devices)
    fits = [n for n in range(1, wanted + 1) if batch_size % (n * accumulate) == 0]
    if not fits or (fits[-1] != wanted and (count or jax.process_count() > 1)):
        parts = wanted * accumulate
        near = [
            size for size in (batch_size // parts * parts, -(-batch_size // parts) * parts) if size
        ]
        raise ValueError(
            f"batch_size must be a multiple of {parts} ({wanted} devices, {accumulate} parts one "
            f"after the other), received {batch_size}; try {' or '.join(map(str, near))}"
        )
    return list(devices)[: fits[-1]]


def describe_device(device: jax.Device) -> str:
    """Name a device for a record.

    >>> describe_device(jax.devices("cpu")[0])
    'cpu (..., ... core...)'
    """
    check_instance(device, jax.Device, "device")
    if device.platform != "cpu":
        return f"{device.platform} ({device.device_kind})"
    cores = _usable_cores()
    return f"cpu ({_processor()}, {cores} core{'s' if cores > 1 else ''})"


def _usable_cores() -> int:
    """Count the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    """Give the name of the processor, as well as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
