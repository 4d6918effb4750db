"""Chains of labels: a linear-chain conditional random field, by two scans over the words.

The score of labels ``y`` of one text is ``sum_t scores[t, y_t] + sum_t transitions[y_t-1, y_t]``,
and their probability is proportional to its exponential.

Source: J. Lafferty et al., "Conditional Random Fields", 2001; L. Rabiner, "A Tutorial on Hidden
Markov Models", 1989, for the two algorithms.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax


def negative_log_likelihood(scores: Array, transitions: Array, labels: Array, mask: Array) -> Array:
    """Compute minus the logarithm of the probability of labels, for each text.

    Args:
        scores: ``(N, T, K)`` of each label of each word.
        transitions: ``(N, K, K)`` from a label (row) to the next one (column).
        labels: ``(N, T)`` integers in ``[0, K)``.
        mask: ``(N, T)`` booleans, false for padding, which comes last.

    Returns:
        ``(N,)``; 0 for a text without words.

    >>> scores, labels, mask = jnp.zeros((1, 3, 2)), jnp.zeros((1, 3), int), jnp.ones((1, 3), bool)
    >>> negative_log_likelihood(scores, jnp.zeros((1, 2, 2)), labels, mask).shape
    (1,)
    """
    return jax.vmap(_one_likelihood)(scores, transitions, labels, mask)


def most_probable(scores: Array, transitions: Array, mask: Array) -> Array:
    """Find the most probable labels of each text, by the algorithm of Viterbi.

    Args:
        scores: ``(N, T, K)`` of each label of each word.
        transitions: ``(N, K, K)`` from a label (row) to the next one (column).
        mask: ``(N, T)`` booleans, false for padding, which comes last.

    Returns:
        int32 ``(N, T)``; padding has the label of the last word.

    >>> scores = jnp.array([[[1.0, 0.0], [0.0, 0.5]]])
    >>> stay = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
    >>> most_probable(scores, stay, jnp.ones((1, 2), bool)).tolist()
    [[0, 0]]
    """
    return jax.vmap(_one_path)(scores, transitions, mask)


def _one_likelihood(scores: Array, transitions: Array, labels: Array, mask: Array) -> Array:
    def step(total: Array, word: tuple[Array, Array]) -> tuple[Array, None]:
        score, counted = word
        longer = jax.nn.logsumexp(total[:, None] + transitions, axis=0) + score
        return jnp.where(counted, longer, total), None

    totals, _ = lax.scan(step, scores[0], (scores[1:], mask[1:]))
    own = jnp.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    moves = transitions[labels[:-1], labels[1:]]
    path = jnp.sum(own, where=mask) + jnp.sum(moves, where=mask[1:])
    return jnp.where(mask[0], jax.nn.logsumexp(totals) - path, 0)


def _one_path(scores: Array, transitions: Array, mask: Array) -> Array:
    stay = jnp.arange(scores.shape[-1])

    def forward(best: Array, word: tuple[Array, Array]) -> tuple[Array, Array]:
        score, counted = word
        through = best[:, None] + transitions
        longer = through.max(axis=0) + score
        return jnp.where(counted, longer, best), jnp.where(counted, through.argmax(axis=0), stay)

    def backward(label: Array, came: Array) -> tuple[Array, Array]:
        return came[label], label

    best, came_from = lax.scan(forward, scores[0], (scores[1:], mask[1:]))
    first, others = lax.scan(backward, best.argmax(), came_from, reverse=True)
    return jnp.concatenate([first[None], others]).astype(jnp.int32)
