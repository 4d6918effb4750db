"""Processes of a test: what they inherit, and where they can meet."""

import os
import socket
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment(**variables: str) -> dict[str, str]:
    """Variables of a process that finds dilax, computes on the CPU, and compiles fast."""
    quick = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    return {**os.environ, "PYTHONPATH": str(ROOT), **quick, **variables}


def free_port() -> int:
    """Find a free port on this machine."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]
