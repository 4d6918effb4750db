"""The operations that ``op_speed.py`` times: shapes of known networks, and unusual shapes.

This file does not import dilax, so that another checkout can be timed on the same cases.
"""

import dataclasses
from typing import Literal

Kind = Literal["conv", "separable", "max_pool", "avg_pool"]
Context = Literal["call", "scan", "vmap", "remat", "then layer norm", "then mean"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One operation; a convolution without ``groups`` is depthwise."""

    family: str
    batch: int
    size: tuple[int, ...]
    features: int
    kernel_size: tuple[int, ...]
    out_features: int | None = None
    groups: int | None = None
    stride: int = 1
    dilation: tuple[int, ...] = ()
    padding: Literal["SAME", "VALID", "CAUSAL"] = "SAME"
    dtype: str = "float32"
    kind: Kind = "conv"
    context: Context = "call"

    @property
    def name(self) -> str:
        """The name in tables, such as ``mobilenet 8x112x112x32 k3x3 s2``."""
        parts = [
            self.family,
            "x".join(map(str, (self.batch, *self.size, self.features))),
            "k" + "x".join(map(str, self.kernel_size)),
        ]
        if self.outputs != self.features:
            parts.append(f"to {self.outputs}")
        if self.group_count != self.features:
            parts.append(f"g{self.group_count}")
        if self.stride > 1:
            parts.append(f"s{self.stride}")
        if max(self.dilations) > 1:
            parts.append("d" + "x".join(map(str, dict.fromkeys(self.dilations))))
        parts += [p for p in (self.dtype, self.context) if p not in ("float32", "call")]
        return " ".join(parts)

    @property
    def dilations(self) -> tuple[int, ...]:
        """The dilation of each window axis."""
        return self.dilation or (1,) * len(self.size)

    @property
    def outputs(self) -> int:
        """Channels of the output."""
        return self.out_features or self.features

    @property
    def group_count(self) -> int:
        """Groups of the (first) convolution."""
        return self.features if self.groups is None else self.groups

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of each window axis."""
        return (self.stride,) * len(self.size)

    @property
    def pads(self) -> tuple[tuple[int, int], ...]:
        """The padding of each window axis, low and high."""
        found = []
        for length, size, dilation in zip(self.size, self.kernel_size, self.dilations, strict=True):
            covered = dilation * (size - 1)
            if self.padding == "SAME":
                last = (-(-length // self.stride) - 1) * self.stride
                total = max(last + covered + 1 - length, 0)
                found.append((total // 2, total - total // 2))
            else:
                found.append((covered if self.padding == "CAUSAL" else 0, 0))
        return tuple(found)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the input and of each kernel."""
        x = (self.batch, *self.size, self.features)
        kernel = (*self.kernel_size, self.features // self.group_count)
        if self.kind in ("max_pool", "avg_pool"):
            return (x,)
        if self.kind == "separable":
            pointwise = (*(1 for _ in self.size), self.features, self.outputs)
            return x, (*kernel, self.features), pointwise
        return x, (*kernel, self.outputs)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        axes = zip(self.size, self.pads, self.kernel_size, self.dilations, strict=True)
        sizes = (
            (length + sum(pads) - dilation * (size - 1) - 1) // self.stride + 1
            for length, pads, size, dilation in axes
        )
        return (self.batch, *sizes, self.outputs)


def _square(family: str, batch: int, edge: int, features: int, kernel: int, **options) -> Case:  # type: ignore[no-untyped-def]
    dilation = options.pop("dilation", 1)
    return Case(
        family=family,
        batch=batch,
        size=(edge, edge),
        features=features,
        kernel_size=(kernel, kernel),
        dilation=(dilation, dilation),
        **options,
    )


def _line(family: str, batch: int, length: int, features: int, kernel: int, **options) -> Case:  # type: ignore[no-untyped-def]
    return Case(
        family=family,
        batch=batch,
        size=(length,),
        features=features,
        kernel_size=(kernel,),
        dilation=(options.pop("dilation", 1),),
        **options,
    )


# Dense volumes: a first layer, a body, downsampled and dilated.
_VOLUMES = (
    ((16, 56, 56), 3, 64, 1, 1),
    ((16, 28, 28), 64, 64, 1, 1),
    ((8, 28, 28), 64, 128, 2, 1),
    ((16, 28, 28), 16, 16, 1, 2),
)

# Sandler et al. 2018 (arXiv 1801.04381), table 2: (edge, features, stride) of each depthwise layer.
_MOBILENET_V2 = (
    (112, 32, 1),
    (112, 96, 2),
    (56, 144, 1),
    (56, 144, 2),
    (28, 192, 1),
    (28, 192, 2),
    (14, 384, 1),
    (14, 576, 1),
    (14, 576, 2),
    (7, 960, 1),
)
_HALVES = ("bfloat16", "float16")

DEPTHWISE_2D = (
    *(_square("mobilenet", 8, e, f, 3, stride=s) for e, f, s in _MOBILENET_V2),
    # Chen et al. 2018 (arXiv 1802.02611): rates 6, 12, 18 at output strides 16 and 8.
    *(_square("aspp", 4, 33, 256, 3, dilation=rate) for rate in (6, 12, 18)),
    *(_square("aspp", 2, 65, 256, 3, dilation=rate) for rate in (6, 12, 18)),
    # Liu et al. 2022 (arXiv 2201.03545), ConvNeXt-T.
    *(_square("convnext", 4, e, f, 7) for e, f in ((56, 96), (28, 192), (14, 384), (7, 768))),
    # Tan and Le 2019 (arXiv 1905.11946), EfficientNet's layers of width 5.
    _square("efficientnet", 8, 28, 240, 5),
    _square("efficientnet", 8, 56, 144, 5, stride=2),
    *(_square("mnist", 128, 28, 32, 3, dilation=rate) for rate in (1, 2, 4)),
    _square("cifar", 64, 32, 64, 3, dilation=2),
    _square("cifar", 64, 16, 128, 3, dilation=4),
    _square("multiplier", 64, 28, 32, 3, out_features=64),
)

CORNERS = (
    _square("large kernel", 4, 28, 64, 31),
    _square("one channel", 8, 256, 1, 3),
    _square("dilation beyond the image", 8, 14, 64, 3, dilation=18),
    _square("batch of one", 1, 56, 64, 3, dilation=2),
    Case(family="tiny and odd", batch=2, size=(5, 7), features=17, kernel_size=(3, 3)),
)

CASES = (
    *DEPTHWISE_2D,
    *CORNERS,
    # Bai et al. 2018 (arXiv 1803.01271): width 3, causal, dilations 1 to 512.
    *(_line("tcn", 8, 4096, 128, 3, dilation=1 << i, padding="CAUSAL") for i in range(10)),
    *(_line("wavenet", 4, 16000, 64, 2, dilation=d, padding="CAUSAL") for d in (1, 512)),
    _line("mamba", 2, 4096, 1024, 4, padding="CAUSAL"),
    _line("width 7", 8, 1024, 256, 7),
    Case(family="video", batch=1, size=(16, 56, 56), features=64, kernel_size=(3, 3, 3)),
    Case(
        family="video",
        batch=2,
        size=(8, 14, 14),
        features=256,
        kernel_size=(3, 3, 3),
        dilation=(1, 2, 2),
    ),
    _square("grouped", 32, 28, 64, 3, groups=32),
    _square("grouped", 32, 28, 64, 3, groups=16),
    _square("grouped", 32, 14, 256, 3, groups=32),
    _square("pointwise", 64, 32, 64, 1, groups=1),
    _square("pointwise", 128, 14, 24, 1, groups=1),
    _square("stem", 128, 28, 1, 3, groups=1, out_features=16),
    _square("stem", 64, 32, 3, 3, groups=1, out_features=32),
    _square("stem", 128, 32, 3, 3, groups=1, out_features=16),
    _square("stem", 128, 32, 3, 3, groups=1, out_features=24),
    _square("stem", 4, 96, 3, 3, groups=1, out_features=24),
    _square("dense", 64, 32, 64, 3, groups=1),
    _square("dense", 64, 32, 64, 3, groups=1, dilation=2),
    _square("dense", 64, 32, 64, 3, groups=1, context="scan"),
    # Few windows, few channels, large images, many channels: body layers of residual networks.
    _square("dense", 8, 28, 64, 3, groups=1, dilation=2),
    _square("dense", 32, 28, 32, 3, groups=1, dilation=2),
    _square("dense", 16, 56, 64, 3, groups=1),
    _square("dense", 16, 14, 256, 3, groups=1),
    *(_square("dense, half precision", 8, 28, 64, 3, groups=1, dtype=half) for half in _HALVES),
    *(_square("to one channel", 8, 28, 64, k, groups=1, out_features=1) for k in (3, 7)),
    # He et al. 2015 (arXiv 1512.03385): the first layer of ResNet, and two strided layers.
    _square("strided", 8, 224, 3, 7, groups=1, out_features=64, stride=2),
    _square("strided", 16, 56, 64, 3, groups=1, out_features=128, stride=2),
    _square("strided", 16, 28, 128, 1, groups=1, out_features=256, stride=2),
    # The first layers of MobileNetV2, ConvNeXt and ViT (Dosovitskiy et al. 2020, arXiv 2010.11929).
    _square("strided", 8, 224, 3, 3, groups=1, out_features=32, stride=2),
    _square("strided", 8, 224, 3, 4, groups=1, out_features=96, stride=4),
    _square("strided", 8, 224, 3, 16, groups=1, out_features=384, stride=16),
    _square("strided", 8, 56, 96, 2, groups=1, out_features=192, stride=2),
    *(
        Case(
            family="volume",
            batch=2,
            size=size,
            features=features,
            kernel_size=(3, 3, 3),
            out_features=out_features,
            groups=1,
            stride=stride,
            dilation=(dilation,) * 3,
        )
        for size, features, out_features, stride, dilation in _VOLUMES
    ),
    *(_square("cifar", 64, 32, 64, 3, dilation=2, dtype=half) for half in _HALVES),
    *(
        _square("cifar", 64, 32, 64, 3, dilation=2, context=context)
        for context in ("scan", "vmap", "remat")
    ),
    _line("tcn", 8, 4096, 128, 3, dilation=16, padding="CAUSAL", context="scan"),
    # A reduction after a convolution can break up its fusion: a layer norm, a mean over the image.
    _square("before a reduction", 4, 56, 96, 7, context="then layer norm"),
    _square("before a reduction", 64, 32, 64, 3, dilation=2, context="then layer norm"),
    _square("before a reduction", 64, 32, 64, 3, dilation=2, context="then mean"),
    _square("max pool", 128, 28, 16, 2, stride=2, kind="max_pool", padding="VALID"),
    _square("max pool", 8, 112, 64, 3, stride=2, kind="max_pool"),
    _square("average pool", 128, 28, 16, 2, stride=2, kind="avg_pool", padding="VALID"),
    _square("average pool", 64, 32, 64, 3, kind="avg_pool"),
    _square("average pool", 8, 112, 64, 3, stride=2, kind="avg_pool"),
    _square("separable", 64, 32, 64, 3, kind="separable"),
    _square("separable", 128, 28, 32, 3, kind="separable"),
)
