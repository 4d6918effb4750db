"""A network that labels each word of a text: iterated dilated blocks, and a chain of labels."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from dilax._checks import LONGEST, check_instance, entries, integer, number
from dilax.models._classifier import Linear
from dilax.models._text import EMBEDDING_INIT, TextBody, masked


class Tagger(nnx.Module):
    """Maps numbers ``(N, T, columns)`` of words to scores ``(N, T, classes)``.

    A word has several numbers, as of its letters and of its form; the first is 0 for padding.
    """

    def activations(self, words: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``scores``."""
        raise NotImplementedError

    def __call__(self, words: jax.Array) -> tuple[jax.Array, jax.Array | None, jax.Array]:
        """Map ``(N, T, columns)`` to scores, transitions and mask, as ``training.Tagging`` takes.

        Raises:
            ValueError: The words have other axes.
        """
        raise NotImplementedError


class TaggerDSDC(Tagger):
    """Iterated separable dilated blocks over words, and a chain of labels: 280,230 parameters.

    The vectors of a word's numbers are added up. The same residual blocks are applied several
    times, so that each word sees far with few parameters; a linear layer gives the score of each
    label, and a matrix that of each pair of neighbouring labels.

    Args:
        classes: Number of labels.
        sizes: How many numbers there are for each column of a word.
        features: Features of each word.
        kernel_size: Words that each kernel takes.
        kernel_dilation: Dilation of each block.
        iterations: How often the blocks are applied.
        chain: Whether pairs of neighbouring labels have scores; without, each word is labelled
            for itself, which is faster where labels are many.
        dropout: Share of features that training sets to zero.
        rngs: Source of keys; parameters are drawn from the stream ``params``.

    Source: E. Strubell et al., "Fast and Accurate Entity Recognition with Iterated Dilated
    Convolutions", 2017; the chain: J. Lafferty et al., "Conditional Random Fields", 2001.

    >>> from flax import nnx
    >>> words = jnp.ones((8, 20, 4), jnp.int32)
    >>> scores, _, _ = nnx.eval_shape(lambda: TaggerDSDC(rngs=nnx.Rngs(0))(words))
    >>> scores.shape
    (8, 20, 29)
    """

    def __init__(
        self,
        *,
        classes: int = 29,
        sizes: Sequence[int] = (2000, 200, 1000, 1000),
        features: int = 64,
        kernel_size: int = 3,
        kernel_dilation: Sequence[int] = (1, 2),
        iterations: int = 2,
        chain: bool = True,
        dropout: float = 0.3,
        rngs: nnx.Rngs,
    ) -> None:
        integer(features, "features", minimum=1, maximum=LONGEST)
        self.iterations = integer(iterations, "iterations", minimum=1, maximum=1000)
        if not 0 <= number(dropout, "dropout") < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}.")
        columns = [
            integer(size, "each of sizes", minimum=2, maximum=LONGEST)
            for size in entries(sizes, "sizes", "integers")
        ]
        self.embeddings = nnx.data(
            [
                nnx.Embed(size, features, embedding_init=EMBEDDING_INIT, rngs=rngs)
                for size in columns
            ]
        )
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.body = TextBody(
            features,
            kernel_size=kernel_size,
            kernel_dilation=kernel_dilation,
            dropout=dropout,
            rngs=rngs,
        )
        self.head = Linear(features, classes, rngs=rngs)
        check_instance(chain, bool, "chain")
        self.transitions = nnx.Param(jnp.zeros((classes, classes))) if chain else None

    def activations(self, words: jax.Array) -> dict[str, jax.Array]:
        """Return the output of every layer by name, in order; the last is ``scores``."""
        mask = words[..., 0] != 0
        columns = [embed(words[..., place]) for place, embed in enumerate(self.embeddings)]
        embedded = functools.reduce(jnp.add, columns)
        x = masked(self.dropout(embedded), mask)
        layers = {"embedding": embedded}
        for iteration in range(1, self.iterations + 1):
            found = self.body.activations(x, mask)
            layers |= {f"{name}_{iteration}": layer for name, layer in found.items()}
            x = list(found.values())[-1] if found else x
        return layers | {"scores": self.head(self.dropout(x))}

    def __call__(self, words: jax.Array) -> tuple[jax.Array, jax.Array | None, jax.Array]:
        """Map ``(N, T, columns)`` to scores, transitions and mask, as ``training.Tagging`` takes.

        Raises:
            ValueError: The words have other axes.
        """
        if words.ndim != 3 or words.shape[-1] != len(self.embeddings):
            raise ValueError(
                f"words must have shape (N, T, {len(self.embeddings)}), got {words.shape}."
            )
        scores = self.activations(words)["scores"]
        if self.transitions is None:
            return scores, None, words[..., 0] != 0
        transitions = jnp.broadcast_to(self.transitions[...], (len(words), *self.transitions.shape))
        return scores, transitions, words[..., 0] != 0
