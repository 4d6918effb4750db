"""MobileNetV2 with published parameters, and dilation in place of its last strides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from dilax._checks import integer, number, shown
from dilax.models._classifier import Classifier, Linear, NormalisedConv
from dilax.models._torch import write

OUTPUT_STRIDES = (32, 16, 8)
"""Pixels between neighbouring positions of the last layer that the network can have."""
COUNTER = "num_batches_tracked"
"""Arrays of the published file that the network does not use: batches seen in its training."""


class Group(NamedTuple):
    """Blocks of equal width, of which the first one may have strides."""

    expansion: int
    features: int
    blocks: int
    strides: int


class InvertedResidual(nnx.Module):
    """Expand, filter each feature, project: ``project(relu6(depthwise(relu6(expand(x)))))``.

    Each convolution is followed by batch normalisation. ``x`` is added if shapes are equal. The
    depthwise convolution is padded by its dilation, as in PyTorch. Without ``expansion`` there is
    no first convolution.

    Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks" (2018).

    >>> from flax import nnx
    >>> x = jnp.ones((4, 16, 16, 8))
    >>> block = lambda: InvertedResidual(8, 16, expansion=6, strides=2, rngs=nnx.Rngs(0))
    >>> nnx.eval_shape(lambda: block()(x)).shape
    (4, 8, 8, 16)
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        *,
        expansion: int,
        strides: int = 1,
        kernel_dilation: int = 1,
        rngs: nnx.Rngs,
    ) -> None:
        middle = in_features * expansion
        expanded = expansion != 1
        self.expand = NormalisedConv(in_features, middle, (1, 1), rngs=rngs) if expanded else None
        self.depthwise = NormalisedConv(
            middle,
            middle,
            (3, 3),
            strides=strides,
            kernel_dilation=kernel_dilation,
            padding=kernel_dilation,
            feature_group_count=middle,
            rngs=rngs,
        )
        self.project = NormalisedConv(middle, features, (1, 1), rngs=rngs)
        self.residual = (strides, in_features) == (1, features)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, H, W, in_features)`` to ``(N, H / strides, W / strides, features)``."""
        y = x if self.expand is None else jax.nn.relu6(self.expand(x))
        y = self.project(jax.nn.relu6(self.depthwise(y)))
        return x + y if self.residual else y

    def layers(self) -> list[NormalisedConv]:
        """Return its convolutions in order."""
        return [conv for conv in (self.expand, self.depthwise, self.project) if conv is not None]


class MobileNetV2(Classifier):
    """MobileNetV2 for published parameters: 3,504,872 parameters with 1,000 classes.

    Stem 3x3 to 32, strides 2; inverted residual blocks as ``GROUPS`` lists them; 1x1 to 1280; mean
    over the image; linear. Batch normalisation follows each convolution, and ReLU6 follows that
    but for the last one of a block. 300,774,272 multiply-adds for an image of 224 x 224; receptive
    field of the convolutions 491. It has no dropout, which the authors have before the last layer.

    With an ``output_stride`` of 16 or 8, the last strides are left out and later depthwise
    convolutions are dilated by as much, in the way of DeepLab. Every parameter then fits as it is,
    and the features at every second or fourth position are those of the published network; the
    positions between them are new.

    The published parameters expect images in ``[0, 1]``, minus the mean of ImageNet and divided by
    its standard deviation.

    Args:
        classes: Number of logits.
        output_stride: Pixels between neighbouring positions of the last layer: 32, 16 or 8.
        width: Factor on all features, which are rounded to multiples of 8; the published parameters
            are for 1.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Raises:
        ValueError: ``output_stride`` is another one, or ``width`` is not positive.
        TypeError: They are not numbers.

    Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks" (2018); Chen
    et al., "Rethinking atrous convolution for semantic image segmentation" (2017), section 3.1.

    >>> from flax import nnx
    >>> images = jnp.ones((8, 64, 64, 3))
    >>> nnx.eval_shape(lambda: MobileNetV2(width=0.25, rngs=nnx.Rngs(0))(images)).shape
    (8, 1000)
    """

    GROUPS: Sequence[Group] = (
        Group(1, 16, 1, 1),
        Group(6, 24, 2, 2),
        Group(6, 32, 3, 2),
        Group(6, 64, 4, 2),
        Group(6, 96, 3, 1),
        Group(6, 160, 3, 2),
        Group(6, 320, 1, 1),
    )
    """The blocks between the stem and the last convolution."""

    def __init__(
        self,
        *,
        classes: int = 1000,
        output_stride: int = 32,
        width: float = 1.0,
        rngs: nnx.Rngs,
    ) -> None:
        if integer(output_stride, "output_stride") not in OUTPUT_STRIDES:
            raise ValueError(f"output_stride must be 32, 16 or 8, got {shown(output_stride)}.")
        if not number(width, "width") > 0:
            raise ValueError(f"width must be positive, got {shown(width)}; try 0.5.")
        features = scaled(32, width)
        self.stem = NormalisedConv(3, features, (3, 3), strides=2, padding=1, rngs=rngs)
        blocks = []
        for group, strides, dilation in placed(self.GROUPS, output_stride):
            block = InvertedResidual(
                features,
                features := scaled(group.features, width),
                expansion=group.expansion,
                strides=strides,
                kernel_dilation=dilation,
                rngs=rngs,
            )
            blocks.append(block)
        self.blocks = nnx.data(blocks)
        self.last = NormalisedConv(features, scaled(1280, max(1.0, width)), (1, 1), rngs=rngs)
        self.head = Linear(scaled(1280, max(1.0, width)), classes, rngs=rngs)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        x = jax.nn.relu6(self.stem(images))
        layers = {"stem": x}
        for place, block in enumerate(self.blocks, start=1):
            x = layers[f"block_{place}"] = block(x)
        x = layers["last"] = jax.nn.relu6(self.last(x))
        x = layers["mean"] = x.mean(axis=(1, 2))
        layers["logits"] = self.head(x)
        return layers

    def load_torch(self, arrays: Mapping[str, ArrayLike]) -> tuple[str, ...]:
        """Set all layers to those of a state dict of torchvision's MobileNetV2.

        ``features.0.0.weight``, ``(out_features, in_features, 3, 3)``, becomes the kernel of the
        stem, ``(3, 3, in_features, out_features)``, and so on; the running statistics are set, too.
        Where the network has another number of classes, its head stays as it is.

        Returns:
            The names that were not used: the counters ``num_batches_tracked``, and those of the
            published head if it is of another number of classes.

        Raises:
            ValueError: Entries are missing, have another shape, or belong to no layer of
                MobileNetV2; each is named, and no parameter is changed.
        """
        variables = self._torch_variables()
        head = {f"classifier.1.{kind}" for kind in ("weight", "bias")}
        bias = arrays.get("classifier.1.bias")
        if bias is not None and jnp.shape(bias) != variables["classifier.1.bias"].shape:
            variables = {name: value for name, value in variables.items() if name not in head}
        unused = tuple(
            name
            for name in arrays
            if name not in variables and (name in head or name in self._torch_counters())
        )
        write(variables, arrays, unused=unused, network="MobileNetV2")
        return unused

    def _torch_layers(self) -> dict[tuple[str, str], NormalisedConv]:
        """The layers by the names of their convolution and their normalisation in torchvision."""
        named = {("features.0.0", "features.0.1"): self.stem}
        for count, block in enumerate(self.blocks, start=1):
            *activated, last = block.layers()
            place = f"features.{count}.conv"
            for step, layer in enumerate(activated):
                named[f"{place}.{step}.0", f"{place}.{step}.1"] = layer
            end = len(activated)
            named[f"{place}.{end}", f"{place}.{end + 1}"] = last
        final = f"features.{len(self.blocks) + 1}"
        named[f"{final}.0", f"{final}.1"] = self.last
        return named

    def _torch_variables(self) -> dict[str, Any]:
        """The parameters and running statistics by their names in torchvision."""
        variables: dict[str, Any] = {}
        for (conv, norm), layer in self._torch_layers().items():
            variables[f"{conv}.weight"] = layer.conv.kernel
            variables[f"{norm}.weight"] = layer.norm.scale
            variables[f"{norm}.bias"] = layer.norm.bias
            variables[f"{norm}.running_mean"] = layer.norm.mean
            variables[f"{norm}.running_var"] = layer.norm.var
        variables["classifier.1.weight"] = self.head.kernel
        variables["classifier.1.bias"] = self.head.bias
        return variables

    def _torch_counters(self) -> set[str]:
        """Names of the counters of batches in torchvision."""
        return {f"{norm}.{COUNTER}" for _, norm in self._torch_layers()}


def placed(groups: Sequence[Group], output_stride: int) -> Iterator[tuple[Group, int, int]]:
    """Yield group, strides and dilation of each block: dilation, where strides would lead too far.

    The block whose strides are left out has all the positions that they would have left out, and
    the blocks after it find those that were left among them by dilation.

    >>> group = Group(6, 96, 2, 2)
    >>> [pair for _, *pair in placed([group, group], 4)]
    [[2, 1], [1, 1], [1, 1], [1, 2]]
    """
    stride, dilation = 2, 1  # of the stem
    for group in groups:
        for place in range(group.blocks):
            strides = group.strides if place == 0 else 1
            if stride * strides <= output_stride:
                yield group, strides, dilation
                stride *= strides
            else:
                yield group, 1, dilation
                dilation *= strides


def scaled(features: int, width: float) -> int:
    """Multiply a number of features, and round it to a multiple of 8, by no more than a tenth down.

    >>> [scaled(features, 0.35) for features in (16, 24, 32)]
    [8, 8, 16]
    """
    wanted = features * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8
