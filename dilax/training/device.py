"""Which device computes, and what it is called."""

import os
import platform
from pathlib import Path

import jax

from dilax._checks import check_instance


def find_device(name: str) -> jax.Device:
    """Give the first device of a kind.

    Args:
        name: "cpu", "gpu", "tpu", or "auto" for the kind that JAX prefers.

    Raises:
        ValueError: JAX finds no such device.
    """
    check_instance(name, str, "device name")
    try:
        if not name:
            raise RuntimeError("no name")
        return jax.local_devices(backend=None if name == "auto" else name)[0]
    except RuntimeError as error:
        raise ValueError(
            f"device must be one that JAX finds here ({jax.default_backend()}), received {name!r}; "
            'use "auto", or install the jax extra for that device'
        ) from error


def describe_device(device: jax.Device) -> str:
    """Name a device for a record.

    >>> describe_device(jax.devices("cpu")[0])
    'cpu (..., ... cores)'
    """
    check_instance(device, jax.Device, "device")
    if device.platform != "cpu":
        return f"{device.platform} ({device.device_kind})"
    return f"cpu ({_processor()}, {os.cpu_count()} cores)"


def _processor() -> str:
    """Give the name of the processor, as well as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
