"""The convolutions in eager PyTorch, channels last."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from operations.cases import Case

LAYOUTS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}
CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


PASSES = ("forward", "forward+backward", "input gradient", "kernel gradient")


def prepare(
    case: Case, arrays: tuple[np.ndarray, ...]
) -> dict[str, Callable[[], Callable[[], object]]]:
    """For each pass, make a function that places its tensors in memory anew, and returns a call."""

    def place(label: str) -> Callable[[], object]:
        return calls(case, arrays)[label]

    return {label: functools.partial(place, label) for label in PASSES}


def calls(case: Case, arrays: tuple[np.ndarray, ...]) -> dict[str, Callable[[], object]]:
    """Make a call for each pass, which returns tensors."""
    rank = len(case.size)
    dtype = getattr(torch, case.dtype)
    channels_first = [array.transpose(0, rank + 1, *range(1, rank + 1)) for array in arrays[::2]]
    kernel = torch.tensor(arrays[1].transpose(rank + 1, rank, *range(rank)).copy(), dtype=dtype)
    x, g = (
        torch.tensor(array.copy(), dtype=dtype).to(memory_format=LAYOUTS[rank])
        for array in channels_first
    )
    x.requires_grad_()
    kernel.requires_grad_()
    forward = functools.partial(convolve, case)
    kept = forward(x, kernel)

    def without_gradients() -> object:
        with torch.no_grad():
            return forward(x, kernel)

    def gradient(*wanted: Any) -> object:
        return torch.autograd.grad(kept, wanted, g, retain_graph=True)

    def both() -> object:
        return torch.autograd.grad(forward(x, kernel), (x, kernel), g)

    found = (without_gradients, both, lambda: gradient(x), lambda: gradient(kernel))
    return dict(zip(PASSES, found, strict=True))


def convolve(case: Case, x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Convolve; pad by PyTorch's convolution if both sides are equal, otherwise by ``F.pad``."""
    padding: Any = [low for low, _ in case.pads]
    if any(low != high for low, high in case.pads):
        x = F.pad(x, [side for pair in reversed(case.pads) for side in pair])
        padding = 0
    return CONVOLUTIONS[len(case.size)](
        x,
        kernel,
        stride=case.strides,
        padding=padding,
        dilation=case.dilations,
        groups=case.group_count,
    )
