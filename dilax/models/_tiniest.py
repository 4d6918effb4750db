"""A network of fewer than 100,000 parameters with small, large and dilated windows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

import dilax
from dilax.models._classifier import Classifier, Linear

SATURATED = 4.0
"""For larger ``a``, ``tanh(exp(a))`` is exactly 1, and ``exp(a)`` could overflow."""


class GatedBlock(nnx.Module):
    """Depthwise windows of four kinds, then a gated product over features, and a scaled skip.

    With the features split into four quarters ``q``, and ``scale`` ``(features,)``, initially 1::

        h = [q_1, conv3(q_2), conv7(q_3), conv7 of dilation 3 (mean over 3x3 (q_4))]
        [a, b] = expand(norm(h));  y = project(tanh(exp(a)) a b) + scale x

    The mean before the dilated window lets each of its taps see the pixels between the taps.

    Source: the ``cifar10-tiniest`` repository of xvel; ``tanh(exp(a)) a`` is TanhExp (Liu and Di,
    2020).

    >>> from flax import nnx
    >>> x = jnp.ones((8, 16, 16, 16))
    >>> nnx.eval_shape(lambda: GatedBlock(16, rngs=nnx.Rngs(0))(x)).shape
    (8, 16, 16, 16)
    """

    def __init__(self, features: int, *, rngs: nnx.Rngs) -> None:
        quarter = features // 4
        self.small = dilax.nn.DepthwiseConv(quarter, (3, 3), rngs=rngs)
        self.large = dilax.nn.DepthwiseConv(quarter, (7, 7), rngs=rngs)
        self.dilated = dilax.nn.DepthwiseConv(quarter, (7, 7), kernel_dilation=3, rngs=rngs)
        self.norm = nnx.LayerNorm(features, epsilon=1e-5, rngs=rngs)
        self.expand = Linear(features, 2 * features, rngs=rngs)
        self.project = Linear(features, features, rngs=rngs)
        self.scale = nnx.Param(jnp.ones(features))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, H, W, features)`` to the same shape."""
        same, small, large, wide = jnp.split(x, 4, axis=-1)
        smooth = dilax.avg_pool(wide, (3, 3), padding="SAME")
        windows = [same, self.small(small), self.large(large), self.dilated(smooth)]
        gate, value = jnp.split(self.expand(self.norm(jnp.concatenate(windows, -1))), 2, axis=-1)
        gate = jnp.tanh(jnp.exp(jnp.minimum(gate, SATURATED))) * gate
        return self.project(gate * value) + x * self.scale[None, None, None]


class Tiniest(Classifier):
    """A network of gated blocks with four kinds of windows: 97,530 parameters.

    Conv 3x3 to 48; three blocks; conv 4x4 to 80 of stride 2 in 16 groups; three blocks; mean over
    the image; linear. Both convolutions are layer-normalised. 43,878,176 multiply-adds;
    receptive field of the convolutions 186.

    Source: the ``cifar10-tiniest`` repository of xvel, which reports 94.4 % on CIFAR-10, the mean
    of five runs of 200 epochs.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> images = jnp.ones((8, 32, 32, 3))
    >>> nnx.eval_shape(lambda: Tiniest(rngs=nnx.Rngs(0))(images)).shape
    (8, 10)
    """

    def __init__(self, *, classes: int = 10, rngs: nnx.Rngs) -> None:
        narrow, wide = 48, 80
        self.stem = dilax.nn.Conv(3, narrow, (3, 3), rngs=rngs)
        self.stem_norm = nnx.LayerNorm(narrow, epsilon=1e-5, rngs=rngs)
        self.fine = nnx.data([GatedBlock(narrow, rngs=rngs) for _ in range(3)])
        self.down = dilax.nn.Conv(
            narrow, wide, (4, 4), 2, padding=((1, 1), (1, 1)), feature_group_count=16, rngs=rngs
        )
        self.down_norm = nnx.LayerNorm(wide, epsilon=1e-5, rngs=rngs)
        self.coarse = nnx.data([GatedBlock(wide, rngs=rngs) for _ in range(3)])
        self.head = Linear(wide, classes, rngs=rngs)

    def activations(self, images: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        x = self.stem_norm(self.stem(images))
        layers = {"stem": x}
        for place, block in enumerate(self.fine, start=1):
            x = layers[f"fine_{place}"] = block(x)
        x = layers["down"] = self.down_norm(self.down(x))
        for place, block in enumerate(self.coarse, start=1):
            x = layers[f"coarse_{place}"] = block(x)
        layers["logits"] = self.head(x.mean(axis=(1, 2)))
        return layers
