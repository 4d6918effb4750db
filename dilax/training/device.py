"""Which device computes, and what it is called."""

import os
import platform

import jax


def find_device(name: str) -> jax.Device:
    """Give the first device of a kind.

    Args:
        name: "cpu", "gpu", "tpu", or "auto" for the kind that JAX prefers.

    Raises:
        ValueError: JAX finds no such device.
    """
    try:
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
    if device.platform != "cpu":
        return f"{device.platform} ({device.device_kind})"
    return f"cpu ({platform.machine()}, {os.cpu_count()} cores)"
