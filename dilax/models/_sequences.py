"""Networks that classify sequences of vectors, step by step and causally, beside a dense twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

import dilax
from dilax._checks import LONGEST, integer, number
from dilax.models._classifier import KERNEL_INIT, MOMENTUM, Linear, schedule
from dilax.models._text import pool


class Sequences(NamedTuple):
    """Sequences of several lengths, padded to one, as a network takes them.

    >>> Sequences(jnp.ones((2, 5, 3)), jnp.array([5, 2])).mask.sum(axis=1)
    Array([5, 2], dtype=int32)
    """

    values: jax.Array
    """``(N, T, features)``; what is beyond the length of a sequence may be any finite numbers."""
    lengths: jax.Array
    """``(N,)`` integers: the steps of each sequence."""

    @property
    def mask(self) -> jax.Array:
        """``(N, T)`` booleans, false for padding."""
        return jnp.arange(self.values.shape[1])[None] < self.lengths[:, None]


class SequenceClassifier(nnx.Module):
    """Maps sequences of vectors ``(N, T, features)`` to logits ``(N, classes)``.

    The logits are the mean over time of the scores of each step, which depend on that step and on
    earlier ones alone. They do not depend on how far a sequence is padded.
    """

    in_features: int

    def layers(self, values: jax.Array, mask: jax.Array | None) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``.

        Args:
            values: ``(N, T, features)``.
            mask: ``(N, T)`` booleans, false for padding; None if nothing is padded.
        """
        raise NotImplementedError

    def scores(self, values: jax.Array) -> jax.Array:
        """Map ``(N, T, features)`` to the scores of each step ``(N, T, classes)``.

        In evaluation it is causal, so that ``dilax.inference.stream`` takes it; the logits of a
        sequence are the mean of its scores.
        """
        raise NotImplementedError

    def activations(self, inputs: jax.Array | Sequences) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        if isinstance(inputs, Sequences):
            return self.layers(inputs.values, inputs.mask)
        return self.layers(inputs, None)

    def __call__(self, inputs: jax.Array | Sequences) -> jax.Array:
        """Map sequences to logits ``(N, classes)``.

        Args:
            inputs: ``(N, T, features)``, or ``Sequences`` if some are padded.

        Raises:
            ValueError: The sequences have other axes or other features, or there are not as many
                lengths.
        """
        check_sequences(inputs, self.in_features)
        return self.activations(inputs)["logits"]


class SequenceBlock(nnx.Module):
    """``x + dropout(relu(norm(conv(x))))`` along time, causally; ``x`` only if its features fit.

    In training, the statistics of the batch leave padding out.

    >>> from flax import nnx
    >>> block = SequenceBlock(16, 16, 3, kernel_dilation=2, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((8, 20, 16)), None).shape
    (8, 20, 16)
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        kernel_size: int,
        *,
        kernel_dilation: int = 1,
        separable: bool = True,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        conv: Any = dilax.nn.SeparableConv if separable else dilax.nn.Conv
        self.conv = conv(
            in_features,
            features,
            (kernel_size,),
            kernel_dilation=kernel_dilation,
            padding="CAUSAL",
            use_bias=False,
            kernel_init=KERNEL_INIT,
            rngs=rngs,
        )
        self.norm = dilax.nn.BatchNorm(features, momentum=MOMENTUM, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.residual = in_features == features

    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        """Map ``(N, T, in_features)`` to ``(N, T, features)``; ``mask`` is false for padding."""
        counted = None if mask is None else mask[..., None]
        y = self.dropout(jax.nn.relu(self.norm(self.conv(x), mask=counted)))
        return x + y if self.residual else y


class TcnDSDC(SequenceClassifier):
    """Causal residual separable dilated blocks over time, mean over time: 27,658 parameters.

    A dense convolution makes ``features`` of the input's, and each block convolves them at its
    dilation, looking back only. Batch normalisation by running statistics makes each step of the
    output one of earlier steps, so that the trained network can be streamed.

    Args:
        classes: Number of logits.
        in_features: Features of each step of the input.
        features: Features of each step inside.
        kernel_size: Steps that the kernel of each block takes.
        kernel_dilation: Dilation of each block.
        first_kernel_size: Steps that the kernel of the first convolution takes.
        dropout: Share of features that training sets to zero.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: dilations that double are those of A. van den Oord et al., "WaveNet: A Generative Model
    for Raw Audio", 2016; residual causal blocks: S. Bai et al., "An Empirical Evaluation of Generic
    Convolutional and Recurrent Networks for Sequence Modeling", 2018; long kernels along time over
    the features of sound: S. Choi et al., "Temporal Convolution for Real-time Keyword Spotting on
    Mobile Devices", 2019.

    >>> from flax import nnx
    >>> sounds = jnp.ones((8, 100, 40))
    >>> nnx.eval_shape(lambda: TcnDSDC(rngs=nnx.Rngs(0))(sounds)).shape
    (8, 10)
    """

    SEPARABLE: bool = True

    def __init__(
        self,
        *,
        classes: int = 10,
        in_features: int = 40,
        features: int = 64,
        kernel_size: int = 9,
        kernel_dilation: Sequence[int] = (1, 2, 4, 8),
        first_kernel_size: int = 3,
        dropout: float = 0.1,
        rngs: nnx.Rngs,
    ) -> None:
        sizes = {
            "in_features": in_features,
            "features": features,
            "kernel_size": kernel_size,
            "first_kernel_size": first_kernel_size,
        }
        for name, value in sizes.items():
            integer(value, name, minimum=1, maximum=LONGEST)
        if not 0 <= number(dropout, "dropout") < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}.")
        self.in_features = in_features
        self.first = SequenceBlock(
            in_features, features, first_kernel_size, separable=False, rngs=rngs
        )
        blocks = [
            SequenceBlock(
                features,
                features,
                kernel_size,
                kernel_dilation=dilation,
                separable=self.SEPARABLE,
                dropout=dropout,
                rngs=rngs,
            )
            for dilation in schedule(kernel_dilation, len(kernel_dilation))
        ]
        self.blocks = nnx.data(blocks)
        self.head = Linear(features, classes, rngs=rngs)

    def layers(self, values: jax.Array, mask: jax.Array | None) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        layers = self._steps(values, mask)
        x = list(layers.values())[-1]
        everywhere = jnp.ones(x.shape[:2], bool) if mask is None else mask
        layers["pooled"] = pool(x, everywhere, "mean")
        return layers | {"logits": self.head(layers["pooled"])}

    def scores(self, values: jax.Array) -> jax.Array:
        """Map ``(N, T, features)`` to the scores of each step ``(N, T, classes)``."""
        return self.head(list(self._steps(values, None).values())[-1])

    def _steps(self, x: jax.Array, mask: jax.Array | None) -> dict[str, jax.Array]:
        """Return the output ``(N, T, features)`` of every layer along time."""
        layers = {"first": self.first(x, mask)}
        for place, block in enumerate(self.blocks, start=1):
            layers[f"block_{place}"] = block(list(layers.values())[-1], mask)
        return layers


class TcnDense(TcnDSDC):
    """The dense twin of ``TcnDSDC``: equal widths, dense convolutions: 156,426 parameters.

    Args:
        classes: Number of logits.
        in_features: Features of each step of the input.
        features: Features of each step inside.
        kernel_size: Steps that the kernel of each block takes.
        kernel_dilation: Dilation of each block.
        first_kernel_size: Steps that the kernel of the first convolution takes.
        dropout: Share of features that training sets to zero.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    >>> from flax import nnx
    >>> sounds = jnp.ones((8, 100, 40))
    >>> nnx.eval_shape(lambda: TcnDense(rngs=nnx.Rngs(0))(sounds)).shape
    (8, 10)
    """

    SEPARABLE = False


def check_sequences(inputs: jax.Array | Sequences, features: int) -> None:
    """Refuse what are no sequences ``(N, T, features)``.

    Raises:
        ValueError: They have other axes or other features, or there are not as many lengths.

    >>> check_sequences(jnp.ones((1, 5, 3)), 3)
    """
    values = inputs.values if isinstance(inputs, Sequences) else inputs
    if values.ndim != 3 or values.shape[-1] != features:
        fix = "; one sequence is a batch of one: sequences[None]" if values.ndim == 2 else ""
        raise ValueError(f"sequences must have shape (N, T, {features}), got {values.shape}{fix}.")
    if isinstance(inputs, Sequences) and inputs.lengths.shape != values.shape[:1]:
        raise ValueError(
            f"lengths must have shape ({len(values)},), one of each sequence, got "
            f"{inputs.lengths.shape}."
        )
