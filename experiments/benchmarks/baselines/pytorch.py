"""``mnist_dsdc`` in PyTorch, channels last."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from torch import nn

from dilax.geometry import canonical_tuple
from dilax.models import MnistDSDC
from dilax.nn import SeparableBlock


class Block(nn.Module):
    """A separable block: depthwise and 1x1 convolution, batch normalisation, ReLU, residual."""

    def __init__(self, block: SeparableBlock) -> None:
        super().__init__()
        height, width, _, features = block.depthwise_kernel[...].shape
        out_features = block.pointwise_kernel[...].shape[-1]
        dilation = canonical_tuple(block.kernel_dilation, 2, "kernel_dilation")
        self.depthwise = nn.Conv2d(
            features,
            features,
            (height, width),
            stride=canonical_tuple(block.strides, 2, "strides"),
            padding=(dilation[0] * (height // 2), dilation[1] * (width // 2)),
            dilation=dilation,
            groups=features,
            bias=False,
        )
        self.pointwise = nn.Conv2d(features, out_features, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_features, momentum=1 - block.momentum)
        copy_kernel(self.depthwise, block.depthwise_kernel[...])
        copy_kernel(self.pointwise, block.pointwise_kernel[...][None, None])
        copy_norm(self.norm, block)
        self.residual = block.residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(N, C, H, W)`` to ``(N, out_features, H, W)``."""
        y = torch.relu(self.norm(self.pointwise(self.depthwise(x))))
        return y + x if self.residual else y


class TorchMnistDSDC(nn.Module):
    """``mnist_dsdc`` in PyTorch, with copies of the parameters of ``model``."""

    def __init__(self, model: MnistDSDC) -> None:
        super().__init__()
        height, width, features, out_features = model.stem.kernel[...].shape
        self.stem = nn.Conv2d(
            features,
            out_features,
            (height, width),
            padding=(height // 2, width // 2),
            bias=False,
        )
        self.stem_norm = nn.BatchNorm2d(out_features, momentum=1 - model.stem_norm.momentum)
        self.blocks = nn.ModuleList([Block(block) for block in model.blocks])
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(model.head.in_features, model.head.out_features)
        copy_kernel(self.stem, model.stem.kernel[...])
        copy_norm(self.stem_norm, model.stem_norm)
        self.head.weight.data = tensor(model.head.kernel[...].T)
        assert model.head.bias is not None
        self.head.bias.data = tensor(model.head.bias[...])
        self.pooled_block = model.POOLED_BLOCK
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images ``(N, C, H, W)`` to logits ``(N, classes)``."""
        x = torch.relu(self.stem_norm(self.pool(self.stem(images))))
        for place, block in enumerate(self.blocks):
            x = block(self.pool(x) if place == self.pooled_block else x)
        return self.head(x.mean(dim=(2, 3)))


def steps_of(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    labels: torch.Tensor,
    steps: int,
) -> Callable[[], None]:
    """Make a function that takes training steps on one batch."""

    def turn() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()

    return turn


def tensor(array: jax.Array) -> torch.Tensor:
    """Copy an array to a tensor."""
    return torch.from_numpy(np.array(array))


def copy_kernel(layer: nn.Conv2d, kernel: jax.Array) -> None:
    """Copy a kernel ``(*window, in, out)`` into a layer that stores ``(out, in, *window)``."""
    layer.weight.data = tensor(kernel.transpose(3, 2, 0, 1))


def copy_norm(norm: nn.BatchNorm2d, source: Any) -> None:
    """Copy scale, bias and statistics of ``source`` into a layer."""
    norm.eps = source.epsilon
    norm.weight.data, norm.bias.data = tensor(source.scale[...]), tensor(source.bias[...])
    norm.running_mean, norm.running_var = tensor(source.mean[...]), tensor(source.var[...])
