"""Networks in PyTorch, with random weights.

MobileNetV2 and ConvNeXt-Tiny are as their papers define them; ``mnist_dsdc`` and ``dsdc`` are those
of dilax, but for the padding of strided convolutions, which is PyTorch's own.

Sources: M. Sandler et al., "MobileNetV2", 2018, table 2; Z. Liu et al., "A ConvNet for the 2020s",
2022, section 2 and table 9.
"""

from typing import Any

import torch
from flax import nnx
from torch import nn

from baselines.pytorch import Block, TorchMnistDSDC
from dilax.models import CifarDSDC, MnistDSDC

CLASSES = 1000
STAGES = (
    # expansion, out-features, repeats, stride
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
CHANNELS_LAST = ("mobilenet", "mnist_dsdc", "dsdc")
"""Networks that are faster in this layout."""
WIDTHS, DEPTHS = (96, 192, 384, 768), (3, 3, 9, 3)


def mobilenet() -> nn.Module:
    """Create MobileNetV2 of width 1."""
    layers: list[nn.Module] = [_normalised(3, 32, 3, stride=2)]
    features = 32
    for expansion, outputs, repeats, stride in STAGES:
        for place in range(repeats):
            layers.append(Inverted(features, outputs, expansion, 1 if place else stride))
            features = outputs
    layers += [_normalised(features, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(1280, CLASSES))


class Inverted(nn.Module):
    """An inverted residual block: expand, filter each channel, project."""

    def __init__(self, features: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = features * expansion
        expand = [_normalised(features, wide, 1)] if expansion > 1 else []
        depthwise = _normalised(wide, wide, 3, stride=stride, groups=wide)
        project = nn.Sequential(nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.layers = nn.Sequential(*expand, depthwise, project)
        self.residual = stride == 1 and features == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(N, C, H, W)`` to the features of the block."""
        return x + self.layers(x) if self.residual else self.layers(x)


def convnext() -> nn.Module:
    """Create ConvNeXt-Tiny."""
    layers: list[nn.Module] = [nn.Conv2d(3, WIDTHS[0], 4, stride=4), LayerNorm(WIDTHS[0])]
    for place, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
        if place:
            layers += [LayerNorm(WIDTHS[place - 1]), nn.Conv2d(WIDTHS[place - 1], width, 2, 2)]
        layers += [ConvNeXtBlock(width) for _ in range(depth)]
    head = [nn.AdaptiveAvgPool2d(1), LayerNorm(WIDTHS[-1]), nn.Flatten()]
    return nn.Sequential(*layers, *head, nn.Linear(WIDTHS[-1], CLASSES))


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, layer normalisation, and a wide layer of each pixel, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``(N, C, H, W)`` to the same shape."""
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(nn.functional.gelu(self.wide(y))) * self.scale
        return x + y.permute(0, 3, 1, 2)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation of the channels of ``(N, C, H, W)``."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise the channels of each pixel."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def mnist_dsdc() -> nn.Module:
    """Create ``mnist_dsdc``."""
    return TorchMnistDSDC(MnistDSDC(rngs=nnx.Rngs(0)))


def dsdc() -> nn.Module:
    """Create ``dsdc``: a stem, and two stages of separable blocks that begin with a stride."""
    network: Any = CifarDSDC(rngs=nnx.Rngs(0))
    features, outputs = network.stem_norm.num_features, network.head.in_features
    stem = [nn.Conv2d(3, features, 3, padding=1, bias=False), nn.BatchNorm2d(features), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(outputs, 10)]
    return nn.Sequential(*stem, *map(Block, network.blocks), *head)


def _normalised(
    features: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution, batch normalisation, and ReLU up to 6."""
    conv = nn.Conv2d(features, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())
