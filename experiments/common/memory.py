"""The memory that a process frees, kept for its next allocation."""

import ctypes
import platform

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8
"""Parameters of glibc's `mallopt`, as its header numbers them."""
KEPT = 2**31 - 1
"""Bytes that may lie free before any go back to the system: the most that an int can say."""
PAD = 2**28
"""Bytes to ask the system for at a time."""


def keep_freed_memory(*, one_arena: bool = False) -> bool:
    """Keep freed memory in this process; say whether the C library can.

    XLA on a CPU allocates and frees megabytes with every operation. By default glibc hands them
    back, and the system clears each page anew, which in a virtual machine can take longer than the
    operation: a training step loses a fifth of its time to it.

    The arena of a single thread cannot hold an array of 64 MB, which still goes back at once; with
    ``one_arena``, all threads share the one that can. Single operations need that to be timed
    alike; training steps were no faster with it.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    options = {MMAP_MAX: 0, TRIM_THRESHOLD: KEPT, TOP_PAD: PAD}
    if one_arena:
        options[ARENA_MAX] = 1
    mallopt = ctypes.CDLL(None).mallopt
    taken = [mallopt(name, value) for name, value in options.items()]
    return taken == [1] * len(taken)
