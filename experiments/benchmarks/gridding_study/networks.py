"""One small network, whose dilated depthwise convolutions a variant replaces.

    stem 3x3, then layers of [filter, 1x1, normalisation, ReLU], then a linear classifier of every
    pixel, or of the mean over the image.

No layer is residual: a residual connection carries a grid past the layers that would remove it.
"""

from collections.abc import Callable, Mapping

import jax
from flax import nnx
from jax import Array

from dilax import analysis, degridding
from dilax.nn import (
    EESP,
    Conv,
    DepthwiseConv,
    InteractingDepthwiseConv,
    LearnedDepthwiseConv,
    ParallelDepthwiseConv,
    RandomDepthwiseConv,
    SmoothedDepthwiseConv,
)

FEATURES = 32
DILATION = 4
"""The dilation of every layer of the naive network."""
DEPTH = 4
SPAN = 1 + 2 * DILATION * DEPTH
"""What the naive layers see along an axis."""
KERNEL = (3, 3)
MOMENTUM = 0.9

Layers = Callable[[nnx.Rngs], list[nnx.Module]]


class Layer(nnx.Module):
    """A filter of each feature, a 1x1 convolution, normalisation, ReLU."""

    def __init__(self, filter: nnx.Module, *, rngs: nnx.Rngs) -> None:
        self.filter = filter
        self.pointwise = Conv(FEATURES, FEATURES, (1, 1), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(FEATURES, momentum=MOMENTUM, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Map ``(N, H, W, FEATURES)`` to the same shape."""
        return jax.nn.relu(self.norm(self.pointwise(self.filter(x))))


class Network(nnx.Module):
    """Stem, layers, classifier."""

    def __init__(
        self, layers: Layers, *, channels: int, classes: int, per_pixel: bool, rngs: nnx.Rngs
    ) -> None:
        strides = 1 if per_pixel else 2
        self.stem = Conv(channels, FEATURES, (3, 3), strides, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(FEATURES, momentum=MOMENTUM, rngs=rngs)
        self.layers = nnx.data(layers(rngs))
        self.head = nnx.Linear(FEATURES, classes, rngs=rngs)
        self.per_pixel = per_pixel

    def features(self, images: Array) -> Array:
        """Map images to what the classifier sees, at every place."""
        x = jax.nn.relu(self.norm(self.stem(images)))
        for layer in self.layers:
            x = layer(x)
        return x

    def __call__(self, images: Array) -> Array:
        """Logits of every pixel, or of every image."""
        x = self.features(images)
        return self.head(x if self.per_pixel else x.mean(axis=(1, 2)))


def filtered(*makers: Callable[[nnx.Rngs], nnx.Module]) -> Layers:
    """Layers around these filters."""
    return lambda rngs: [Layer(make(rngs), rngs=rngs) for make in makers]


def dilated(*dilations: int) -> Layers:
    """Plain dilated layers."""

    def maker(dilation: int) -> Callable[[nnx.Rngs], nnx.Module]:
        return lambda rngs: DepthwiseConv(
            FEATURES, KERNEL, kernel_dilation=dilation, use_bias=False, rngs=rngs
        )

    return filtered(*map(maker, dilations))


def hybrid_dilation() -> tuple[int, ...]:
    """Dilations that see as far as the naive ones, and everything in between."""
    return analysis.hybrid_dilation(3, DEPTH, SPAN, most=1)[0]


def smoothed(rngs: nnx.Rngs, *, learned: bool) -> nnx.Module:
    """Smoothing before, by a shared kernel or an average."""
    return SmoothedDepthwiseConv(
        FEATURES, KERNEL, kernel_dilation=DILATION, learned=learned, rngs=rngs
    )


def interacting(rngs: nnx.Rngs) -> nnx.Module:
    """Phases mixed after."""
    return InteractingDepthwiseConv(FEATURES, KERNEL, kernel_dilation=DILATION, rngs=rngs)


def parallel(rngs: nnx.Rngs) -> nnx.Module:
    """A branch for each dilation up to the naive one."""
    dilations = tuple(range(1, DILATION + 1))
    return ParallelDepthwiseConv(
        FEATURES, [KERNEL] * len(dilations), kernel_dilation=dilations, momentum=MOMENTUM, rngs=rngs
    )


def learned(rngs: nnx.Rngs) -> nnx.Module:
    """As many taps, anywhere that the naive kernel spans."""
    size = 2 * DILATION + 1
    return LearnedDepthwiseConv(FEATURES, (size, size), taps=9, rngs=rngs)


def random(rngs: nnx.Rngs) -> nnx.Module:
    """A dilation drawn at every step; the naive one in evaluation."""
    choices = tuple(range(1, 2 * DILATION))
    return RandomDepthwiseConv(
        FEATURES, KERNEL, kernel_dilation=DILATION, kernel_dilation_choices=choices, rngs=rngs
    )


def pyramid(rngs: nnx.Rngs) -> list[nnx.Module]:
    """ESPNetv2's units, with their residuals."""
    dilations = tuple(range(1, DILATION + 1))
    return [
        EESP(FEATURES, KERNEL, kernel_dilation=dilations, momentum=MOMENTUM, rngs=rngs)
        for _ in range(DEPTH)
    ]


VARIANTS: Mapping[str, Layers] = {
    "no dilation": dilated(*[1] * DEPTH),
    "naive": dilated(*[DILATION] * DEPTH),
    "hybrid dilation": dilated(*hybrid_dilation()),
    "degridding dilation": dilated(DILATION, DILATION, *degridding.degridding_dilation(DILATION)),
    "average before": filtered(*[lambda rngs: smoothed(rngs, learned=False)] * DEPTH),
    "shared kernel before": filtered(*[lambda rngs: smoothed(rngs, learned=True)] * DEPTH),
    "group interaction": filtered(*[interacting] * DEPTH),
    "parallel branches": filtered(*[parallel] * DEPTH),
    "learned positions": filtered(*[learned] * DEPTH),
    "random dilation": filtered(*[random] * DEPTH),
    "ESPNetv2 units": pyramid,
}
"""Every variant by its name in the record."""
