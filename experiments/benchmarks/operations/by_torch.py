"""The operations by PyTorch, eager, channels last."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from operations.cases import Case

LAYOUTS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}
CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def prepare(
    case: Case, arrays: tuple[np.ndarray, ...]
) -> tuple[dict[str, Callable[[], object]], Callable[[], tuple[np.ndarray, ...]]]:
    """All passes as calls, and the answers in dilax's layout."""
    rank = len(case.size)
    dtype = getattr(torch, case.dtype)
    features_first = [array.transpose(0, rank + 1, *range(1, rank + 1)) for array in arrays[::2]]
    kernel = torch.tensor(arrays[1].transpose(rank + 1, rank, *range(rank)).copy(), dtype=dtype)
    x, g = (
        torch.tensor(array.copy(), dtype=dtype).to(memory_format=LAYOUTS[rank])
        for array in features_first
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

    def answers() -> tuple[np.ndarray, ...]:
        to_x, to_kernel = torch.autograd.grad(forward(x, kernel), (x, kernel), g)
        last = (0, *range(2, rank + 2), 1)
        y, to_x = (a.detach().float().numpy().transpose(last) for a in (kept, to_x))
        return y, to_x, to_kernel.float().numpy().transpose(*range(2, rank + 2), 1, 0)

    calls: dict[str, Callable[[], object]] = {
        "forward": without_gradients,
        "forward+backward": both,
        "input gradient": functools.partial(gradient, x),
        "kernel gradient": functools.partial(gradient, kernel),
    }
    return calls, answers


def convolve(case: Case, x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """PyTorch's own padding where both sides are equal, `F.pad` where not."""
    geometry = case.geometry
    padding: Any = [low for low, _ in geometry.padding]
    if any(low != high for low, high in geometry.padding):
        x = F.pad(x, [side for pair in reversed(geometry.padding) for side in pair])
        padding = 0
    return CONVOLUTIONS[len(case.size)](
        x,
        kernel,
        stride=geometry.strides,
        padding=padding,
        dilation=geometry.kernel_dilation,
        groups=geometry.feature_group_count,
    )
