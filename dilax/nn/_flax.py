"""Import Flax NNX, or raise an error that says why it cannot be imported."""

from importlib.metadata import PackageNotFoundError, version

try:
    from flax import nnx
except Exception as error:
    try:
        installed = f"flax {version('flax')} cannot import flax.nnx beside jax {version('jax')}"
    except PackageNotFoundError:
        raise ImportError(
            "dilax.nn needs flax, which is not installed: pip install 'dilax-jax[train]'. The "
            "functions of dilax need no flax."
        ) from error
    raise ImportError(
        f"{installed}: the two versions do not work together. Pairs that do: jax 0.7.2 with flax "
        f"0.11.2, jax 0.10.2 with flax 0.12.8, jax >= 0.11.1 with flax >= 0.12.12 (Python >= "
        f"3.12). The functions of dilax need no flax and work as they are."
    ) from error

__all__ = ["nnx"]
