"""Flax NNX, or one clear sentence on why it cannot be imported."""

from importlib.metadata import version

try:
    from flax import nnx
except Exception as error:
    raise ImportError(
        f"flax {version('flax')} cannot import flax.nnx beside jax {version('jax')}: the two are "
        f"not made for each other. Pairs that work: jax 0.7.2 with flax 0.11.2, jax 0.10.2 with "
        f"flax 0.12.8, jax >= 0.11.1 with flax >= 0.12.12 (Python >= 3.12). The functions of "
        f"dilax need no flax and work as they are."
    ) from error

__all__ = ["nnx"]
