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
"""The dilations of the layers of the naive network."""
DEPTH = 4
SPAN = 1 + 2 * DILATION * DEPTH
"""The receptive field of the naive layers along an axis."""
KERNEL = (3, 3)
MOMENTUM = 0.9

Layers = Callable[[nnx.Rngs], list[nnx.Module]]


class Layer(nnx.Module):
    """A depthwise filter, a 1x1 convolution, batch normalisation and ReLU."""

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
        """Map images to the features of every pixel that the classifier reads."""
        x = jax.nn.relu(self.norm(self.stem(images)))
        for layer in self.layers:
            x = layer(x)
        return x

    def __call__(self, images: Array) -> Array:
        """Compute the logits of every pixel, or of every image."""
        x = self.features(images)
        return self.head(x if self.per_pixel else x.mean(axis=(1, 2)))


def filtered(*makers: Callable[[nnx.Rngs], nnx.Module]) -> Layers:
    """Make layers with these filters."""
    return lambda rngs: [Layer(make(rngs), rngs=rngs) for make in makers]


def dilated(*dilations: int) -> Layers:
    """Make filters of plain depthwise convolutions with these dilations."""

    def maker(dilation: int) -> Callable[[nnx.Rngs], nnx.Module]:
        return lambda rngs: DepthwiseConv(
            FEATURES, KERNEL, kernel_dilation=dilation, use_bias=False, rngs=rngs
        )

    return filtered(*map(maker, dilations))


def hybrid_dilation() -> tuple[int, ...]:
    """Find dilations with at least the field of the naive ones, and without holes."""
    return analysis.hybrid_dilation(3, DEPTH, SPAN, most=1)[0]


def smoothed(rngs: nnx.Rngs, *, learned: bool) -> nnx.Module:
    """Make a convolution of a smoothed input, by a learned shared kernel or an average."""
    return SmoothedDepthwiseConv(
        FEATURES, KERNEL, kernel_dilation=DILATION, learned=learned, rngs=rngs
    )


def interacting(rngs: nnx.Rngs) -> nnx.Module:
    """Make a convolution whose phases are mixed afterwards."""
    return InteractingDepthwiseConv(FEATURES, KERNEL, kernel_dilation=DILATION, rngs=rngs)


def parallel(rngs: nnx.Rngs) -> nnx.Module:
    """Make parallel branches, one for each dilation up to the naive one."""
    dilations = tuple(range(1, DILATION + 1))
    return ParallelDepthwiseConv(
        FEATURES, [KERNEL] * len(dilations), kernel_dilation=dilations, momentum=MOMENTUM, rngs=rngs
    )


def learned(rngs: nnx.Rngs) -> nnx.Module:
    """Make a kernel with learned positions of its taps, as many and as wide as the naive one."""
    size = 2 * DILATION + 1
    return LearnedDepthwiseConv(FEATURES, (size, size), taps=9, rngs=rngs)


def random(rngs: nnx.Rngs) -> nnx.Module:
    """Make a convolution with a random dilation in training, and the naive one in evaluation."""
    choices = tuple(range(1, 2 * DILATION))
    return RandomDepthwiseConv(
        FEATURES, KERNEL, kernel_dilation=DILATION, kernel_dilation_choices=choices, rngs=rngs
    )


def pyramid(rngs: nnx.Rngs) -> list[nnx.Module]:
    """Make a unit of ESPNetv2, with its residual."""
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
"""The variants, by their names in the record."""
