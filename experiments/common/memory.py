"""A setting of glibc that keeps freed memory for the next allocation."""

import ctypes
import platform

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8
"""Numbers of the parameters of glibc's ``mallopt``, from its header."""
KEPT = 2**31 - 1
"""Most freed bytes that the process keeps: the largest C int."""
PAD = 2**28
"""Bytes to request from the system at a time."""


def keep_freed_memory(*, one_arena: bool = False) -> bool:
    """Keep freed memory in this process; return whether the C library supports it.

    XLA on a CPU allocates and frees megabytes with every operation. By default glibc returns them
    to the system, which clears each page when it hands it out again. In a virtual machine this can
    take longer than a single operation, and a fifth of the time of a training step.

    The arena of a thread cannot keep arrays of 64 MB or more; the main arena can, and ``one_arena``
    makes all threads share it. Timings of single operations need this to be comparable; training
    steps were no faster with it.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    options = {MMAP_MAX: 0, TRIM_THRESHOLD: KEPT, TOP_PAD: PAD}
    if one_arena:
        options[ARENA_MAX] = 1
    mallopt = ctypes.CDLL(None).mallopt
    taken = [mallopt(name, value) for name, value in options.items()]
    return taken == [1] * len(taken)
