"""Networks that classify texts: separable dilated blocks over words, beside their dense twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx

import dilax
from dilax._checks import LONGEST, integer, number, shown
from dilax.models._classifier import Linear, schedule

Pooling = Literal["max", "mean", "both"]
EMBEDDING_INIT = jax.nn.initializers.normal(0.1)
WORDS = 10_000


class TextClassifier(nnx.Module):
    """Maps numbers of words ``(N, T)``, 0 for padding, to logits ``(N, classes)``.

    The logits of a text do not depend on how far its batch is padded.
    """

    def embed(self, words: jax.Array) -> jax.Array:
        """Map numbers of words ``(N, T)`` to their vectors ``(N, T, features)``."""
        raise NotImplementedError

    def layers(self, embedded: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer after the vectors; the last is ``logits``.

        Args:
            embedded: ``(N, T, features)``, the vectors of the words.
            mask: ``(N, T)`` booleans, false for padding.
        """
        raise NotImplementedError

    def activations(self, words: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``logits``."""
        embedded = self.embed(words)
        return {"embedding": embedded, **self.layers(embedded, words != 0)}

    def __call__(self, words: jax.Array) -> jax.Array:
        """Map numbers of words ``(N, T)`` to logits ``(N, classes)``.

        Raises:
            ValueError: The words have other axes, such as one text without a batch axis.
            TypeError: They are no integers.
        """
        check_words(words)
        return self.activations(words)["logits"]


class TextBlock(nnx.Module):
    """``x + dropout(relu(conv(x)))``, zero where there is padding.

    Nothing is normalised. Batch normalisation would average over padding too, so that an answer
    would depend on how long the other texts of a batch are. After a layer normalisation, the size
    of a word's vector would not matter, and so neither would its gradient along that vector, by
    which answers are explained.

    >>> from flax import nnx
    >>> block = TextBlock(16, 3, kernel_dilation=2, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((8, 20, 16)), jnp.ones((8, 20), bool)).shape
    (8, 20, 16)
    """

    def __init__(
        self,
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
            features, features, (kernel_size,), kernel_dilation=kernel_dilation, rngs=rngs
        )
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Map ``(N, T, features)``, zero where ``mask`` ``(N, T)`` is false, to the same."""
        y = self.conv(x)
        return masked(x + self.dropout(jax.nn.relu(y)), mask)


class TextBody(nnx.Module):
    """Residual dilated blocks over the words of texts, of any length.

    Args:
        features: Features of each word.
        kernel_size: Words that each kernel takes.
        kernel_dilation: Dilation of each block.
        separable: Whether the convolutions are depthwise separable, or dense.
        dropout: Share of features that training sets to zero.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    >>> from flax import nnx
    >>> body = TextBody(16, rngs=nnx.Rngs(0))
    >>> body(jnp.ones((8, 20, 16)), jnp.ones((8, 20), bool)).shape
    (8, 20, 16)
    """

    def __init__(
        self,
        features: int,
        *,
        kernel_size: int = 3,
        kernel_dilation: Sequence[int] = (1, 2, 4),
        separable: bool = True,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        blocks = [
            TextBlock(
                features,
                kernel_size,
                kernel_dilation=dilation,
                separable=separable,
                dropout=dropout,
                rngs=rngs,
            )
            for dilation in schedule(kernel_dilation, len(kernel_dilation))
        ]
        self.blocks = nnx.data(blocks)

    def activations(self, x: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every block by name, in order."""
        layers = {}
        for place, block in enumerate(self.blocks, start=1):
            x = layers[f"block_{place}"] = block(x, mask)
        return layers

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Map ``(N, T, features)`` to the same shape."""
        for block in self.blocks:
            x = block(x, mask)
        return x


class TextDSDC(TextClassifier):
    """Words as vectors, residual separable dilated blocks, pool over the words: 653,186 parameters.

    All but 13,186 of them are the vectors of 10,000 words. Each block convolves along the words and
    adds its input; what is padding stays zero, so that answers do not depend on it.

    Args:
        classes: Number of logits.
        words: Number of words of the vocabulary, padding and the unknown word included.
        features: Features of each word.
        kernel_size: Words that each kernel takes.
        kernel_dilation: Dilation of each block.
        pooling: ``"max"`` or ``"mean"`` over the words of a text, or ``"both"``.
        dropout: Share of features that training sets to zero.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: the pool over words is that of Y. Kim, "Convolutional Neural Networks for Sentence
    Classification", 2014; dilated convolutions over words: E. Strubell et al., "Fast and Accurate
    Entity Recognition with Iterated Dilated Convolutions", 2017.

    >>> from flax import nnx
    >>> words = jnp.ones((8, 20), jnp.int32)
    >>> nnx.eval_shape(lambda: TextDSDC(rngs=nnx.Rngs(0))(words)).shape
    (8, 2)
    """

    SEPARABLE: bool = True

    def __init__(
        self,
        *,
        classes: int = 2,
        words: int = WORDS,
        features: int = 64,
        kernel_size: int = 3,
        kernel_dilation: Sequence[int] = (1, 2, 4),
        pooling: Pooling = "max",
        dropout: float = 0.5,
        rngs: nnx.Rngs,
    ) -> None:
        for name, value in {"features": features, "kernel_size": kernel_size}.items():
            integer(value, name, minimum=1, maximum=LONGEST)
        integer(words, "words", minimum=2, maximum=LONGEST)
        if pooling not in get_args(Pooling):
            raise ValueError(f"pooling must be max, mean or both, got {shown(pooling)}.")
        if not 0 <= number(dropout, "dropout") < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}.")
        self.embedding = nnx.Embed(words, features, embedding_init=EMBEDDING_INIT, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.body = TextBody(
            features,
            kernel_size=kernel_size,
            kernel_dilation=kernel_dilation,
            separable=self.SEPARABLE,
            dropout=dropout,
            rngs=rngs,
        )
        self.pooling = pooling
        self.head = Linear((2 if pooling == "both" else 1) * features, classes, rngs=rngs)

    def embed(self, words: jax.Array) -> jax.Array:
        """Map numbers of words ``(N, T)`` to their vectors ``(N, T, features)``."""
        return self.embedding(words)

    def layers(self, embedded: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer after the vectors; the last is ``logits``."""
        layers = self.body.activations(masked(self.dropout(embedded), mask), mask)
        x = list(layers.values())[-1] if layers else embedded
        layers["pooled"] = pool(x, mask, self.pooling)
        return layers | {"logits": self.head(self.dropout(layers["pooled"]))}


class TextDense(TextDSDC):
    """The dense twin of ``TextDSDC``: equal widths, dense convolutions: 677,186 parameters.

    Args:
        classes: Number of logits.
        words: Number of words of the vocabulary, padding and the unknown word included.
        features: Features of each word.
        kernel_size: Words that each kernel takes.
        kernel_dilation: Dilation of each block.
        pooling: ``"max"`` or ``"mean"`` over the words of a text, or ``"both"``.
        dropout: Share of features that training sets to zero.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    >>> from flax import nnx
    >>> words = jnp.ones((8, 20), jnp.int32)
    >>> nnx.eval_shape(lambda: TextDense(rngs=nnx.Rngs(0))(words)).shape
    (8, 2)
    """

    SEPARABLE = False


def check_words(words: jax.Array) -> None:
    """Refuse what are no numbers of words ``(N, T)``.

    Raises:
        ValueError: They have other axes.
        TypeError: They are no integers.

    >>> check_words(jnp.ones((1, 3), jnp.int32))
    """
    if words.ndim != 2:
        fix = "; one text is a batch of one: words[None]" if words.ndim == 1 else ""
        raise ValueError(f"words must have shape (N, T), got {words.shape}{fix}.")
    if not jnp.issubdtype(words.dtype, jnp.integer):
        raise TypeError(f"words must be integers, got {words.dtype}; convert them to int32.")


def masked(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Set ``(N, T, features)`` to zero where ``mask`` ``(N, T)`` is false."""
    return jnp.where(mask[..., None], x, jnp.zeros((), x.dtype))


def pool(x: jax.Array, mask: jax.Array, pooling: Pooling) -> jax.Array:
    """Take the mean or the maximum over words that are no padding, or both; zero of no word.

    >>> x, mask = jnp.array([[[1.0], [3.0], [9.0]]]), jnp.array([[True, True, False]])
    >>> [pool(x, mask, how).item() for how in ("mean", "max")]
    [2.0, 3.0]
    >>> pool(x, mask, "both").tolist()
    [[2.0, 3.0]]
    """
    if pooling == "both":
        return jnp.concatenate([pool(x, mask, "mean"), pool(x, mask, "max")], axis=-1)
    count = mask.sum(axis=1, keepdims=True)
    if pooling == "mean":
        return masked(x, mask).sum(axis=1) / jnp.maximum(count, 1).astype(x.dtype)
    lowest = jnp.where(mask[..., None], x, jnp.finfo(x.dtype).min)
    return jnp.where(count > 0, lowest.max(axis=1), jnp.zeros((), x.dtype))
