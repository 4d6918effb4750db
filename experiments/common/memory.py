"""A setting of glibc that keeps freed memory for the next allocation."""

import ctypes
import platform

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8
"""Parameters of glibc's `mallopt`, as its header numbers them."""
KEPT = 2**31 - 1
"""Freed bytes that may stay before any return to the system: the largest int."""
PAD = 2**28
"""Bytes to request from the system at a time."""


def keep_freed_memory(*, one_arena: bool = False) -> bool:
    """Keep freed memory in this process; return whether the C library supports it.

    XLA on a CPU allocates and frees megabytes with every operation. By default glibc returns them
    to the system, which clears each page again; in a virtual machine this can take longer than the
    operation, and a fifth of a training step.

    The arena of a thread cannot keep an array of 64 MB; the main arena can, and ``one_arena`` makes
    all threads share it. Single operations need this for comparable timings; training steps were no
    faster with it.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    options = {MMAP_MAX: 0, TRIM_THRESHOLD: KEPT, TOP_PAD: PAD}
    if one_arena:
        options[ARENA_MAX] = 1
    mallopt = ctypes.CDLL(None).mallopt
    taken = [mallopt(name, value) for name, value in options.items()]
    return taken == [1] * len(taken)
