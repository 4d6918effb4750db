"""Trained networks on disk: read from the folder of a run, or kept in one file.

What trains networks is imported when it is first used, because it brings many libraries.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util

from dilax._atomic import write_bytes
from dilax._checks import check_instance, shown
from dilax.data import DataError
from dilax.data._dataset import check_size
from dilax.models._description import Description
from dilax.models._detector import TrainedDetector
from dilax.models._segmenter import TrainedSegmenter
from dilax.models._super_resolver import TrainedSuperResolver
from dilax.models._trained import TrainedClassifier, TrainedNetwork
from dilax.models._trained_series import TrainedSeriesClassifier
from dilax.models._trained_sound import TrainedSoundClassifier
from dilax.models._trained_tagger import TrainedTagger
from dilax.models._trained_text import TrainedTextClassifier
from dilax.models._trained_video import TrainedVideoClassifier

_KEY, _DIGEST = "dilax", "sha256"
"""Names of the description and of the checksum in the metadata of a file."""
_PARTS = ("params", "batch_stats")
_KINDS: Mapping[str, type[TrainedNetwork]] = {
    kind.task: kind
    for kind in (
        TrainedClassifier,
        TrainedSegmenter,
        TrainedDetector,
        TrainedSuperResolver,
        TrainedTextClassifier,
        TrainedTagger,
        TrainedSoundClassifier,
        TrainedSeriesClassifier,
        TrainedVideoClassifier,
    )
}


def load(path: str | os.PathLike[str], *, weights: str | None = None) -> Any:
    """Load a trained network with its weights, its classes and the way its input is prepared.

    Args:
        path: The folder of a run, with one seed, or a file that ``save`` wrote.
        weights: Of a run: ``"final"`` (of the last step), ``"ema"`` (their moving average) or
            ``"best"`` (of the best epoch); None for those that its record reports.

    Returns:
        A ``TrainedNetwork``, whose kind is that of what the network was trained to do, such as a
        ``TrainedClassifier``.

    Raises:
        FileNotFoundError: There is no such file or folder.
        CheckpointError: The folder holds no trained network, or its checkpoint is damaged.
        DataError: The file is damaged, or was not written by ``save``.
        ValueError: ``weights`` is given for a file, or is none of the three.
        TypeError: ``path`` is not a path.

    >>> import tempfile
    >>> from dilax.models import Description, Preparation
    >>> preparation = Preparation(height=28, width=28, mean=(0.1,), std=(0.3,))
    >>> description = Description(
    ...     model="mnist_dsdc", class_names=tuple("0123456789"), preparation=preparation
    ... )
    >>> file = Path(tempfile.mkdtemp()) / "digits.safetensors"
    >>> save(TrainedClassifier(description.create(), description), file)
    >>> load(file)
    TrainedClassifier(mnist_dsdc, 10 classes, images 28x28x1)
    """
    if not isinstance(path, str | os.PathLike) or not str(path).strip("\0"):
        raise TypeError(f"path must be the path of a run's folder or of a file, got {shown(path)}.")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist; give the folder of a trained run, or a file of "
            "dilax.models.save."
        )
    if path.is_dir():
        return _from_run(path, weights)
    if weights is not None:
        raise ValueError(
            f"weights must be left out for a file, which holds one set of them, got {weights!r}."
        )
    description, arrays = _read(path)
    return _filled(description, arrays["params"], arrays["batch_stats"], path)


def save(model: TrainedNetwork, path: str | os.PathLike[str]) -> None:
    """Save a trained network to one ``.safetensors`` file, from which ``load`` creates it anew.

    The file holds the arrays by name, and in its metadata, as JSON, the description of the network
    and a checksum of everything. It is written whole or not at all.

    Args:
        model: The network.
        path: The file; an existing one is replaced.

    Raises:
        TypeError: ``model`` is not a trained network.
        OSError: The file cannot be written; the message names it.
    """
    import safetensors.numpy

    from dilax.training import functional

    check_instance(model, TrainedNetwork, "model")
    _, params, batch_stats = functional(model.network)
    trees = dict(zip(_PARTS, (params, batch_stats), strict=True))
    arrays = {
        name: np.array(array, order="C")
        for name, array in traverse_util.flatten_dict(_with_text_keys(trees), sep=".").items()
    }
    described = json.dumps(model.description.as_json())
    metadata = {_KEY: described, _DIGEST: _digest(described, arrays)}
    write_bytes(Path(path), safetensors.numpy.save(arrays, metadata=metadata))


def _from_run(folder: Path, weights: str | None) -> TrainedNetwork:
    from dilax.training import CheckpointError, read_trained, round_kernels
    from dilax.training._trained import KINDS

    if weights not in (None, *KINDS):
        raise ValueError(f"weights must be one of {', '.join(KINDS)}, got {shown(weights)}.")
    trained = read_trained(folder, which=weights)
    if not trained.description:
        raise CheckpointError(
            f"{folder} holds weights without a description of their network, as runs of earlier "
            "versions do; read them by dilax.training.read_trained, or train anew."
        )
    description = Description.from_json(trained.description)
    params, batch_stats = trained.weights
    if description.kernel_bits:
        params = round_kernels(params, bits=description.kernel_bits)
    return _filled(description, params, batch_stats, folder)


def _filled(description: Description, params: Any, batch_stats: Any, path: Path) -> TrainedNetwork:
    """Create a network and write the weights of ``path`` into it."""
    from dilax.training import load_into

    try:
        network = nnx.eval_shape(description.create)  # drawing what is replaced takes seconds
        load_into(network, params, batch_stats)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path} holds a network that this version of dilax cannot create: {error}"
        ) from error
    nnx.update(network, jax.tree.map(_start, nnx.state(network, nnx.RngState)))
    return _KINDS[description.task](network, description)


def _start(variable: jax.ShapeDtypeStruct) -> jax.Array:
    """The first key or count of a stream of random numbers, of which an answer has none."""
    if jnp.issubdtype(variable.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), variable.shape)
    return jnp.zeros(variable.shape, variable.dtype)


def _read(path: Path) -> tuple[Description, dict[str, Any]]:
    """Read and check a file of ``save``."""
    import safetensors

    check_size(path.stat().st_size, str(path))
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # a damaged file may raise anything
        raise DataError(
            f"{path} is not a readable .safetensors file: {error}; get it again."
        ) from error
    if not metadata.keys() >= {_KEY, _DIGEST}:
        raise DataError(
            f"{path} must be a file of dilax.models.save, got .safetensors without a description "
            "of a network; dilax.data.read_state_dict reads its arrays."
        )
    if metadata[_DIGEST] != _digest(metadata[_KEY], arrays):
        raise DataError(f"{path} is damaged: its checksum is another one; get it again.")
    try:
        found = traverse_util.unflatten_dict(arrays, sep=".")
        content = json.loads(metadata[_KEY])
    except Exception as error:  # whatever was written with a right checksum
        raise DataError(f"{path} must be a file of dilax.models.save, got {error!r}.") from error
    return Description.from_json(content), {name: found.get(name, {}) for name in _PARTS}


def _digest(described: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Compute the SHA-256 of a description and of arrays with their names, types and shapes."""
    digest = hashlib.sha256(described.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _with_text_keys(tree: Any) -> Any:
    """Convert the keys of nested dictionaries to text; lists of modules have numbers."""
    if not isinstance(tree, Mapping):
        return tree
    return {str(name): _with_text_keys(branch) for name, branch in tree.items()}
