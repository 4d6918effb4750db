"""The processor of this machine, by name and by what it can do."""

from __future__ import annotations

import platform
from pathlib import Path


def processor_name() -> str:
    """Return the processor's model name on Linux, elsewhere what Python knows of it."""
    return _told("model name") or platform.processor() or platform.machine()


def processor_features() -> str:
    """Return the extensions that the processor has, on Linux; empty elsewhere."""
    return _told("flags") or _told("Features")


def _told(name: str) -> str:
    """Return what Linux tells of the first core by a name; empty if nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
