"""Saving a training run to disk and restoring exactly it, by Orbax."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Pytree = Any


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or that of another run; the message says what to do."""


class Checkpoints:
    """The newest checkpoint of a run: a pytree of arrays, and JSON beside it.

    A context manager: leaving it waits until what was saved is on disk. PRNG keys are stored as
    their raw data. Beside the arrays lie the run's configuration, a description of every array and
    a SHA-256 over all of them, for Orbax itself would restore altered bytes without a word.

    Args:
        folder: where to keep them; made when missing.
        config: what must be equal for a run to continue; JSON.
    """

    def __init__(self, folder: Path, *, config: Mapping[str, Any]) -> None:
        import orbax.checkpoint as ocp

        self.folder = folder
        self._config = json.loads(json.dumps(config))
        self._args = ocp.args
        self._manager = ocp.CheckpointManager(
            folder.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=1)
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """The step of the newest checkpoint; None when there is none."""
        return self._manager.latest_step()

    def save(self, step: int, tree: Pytree, *, notes: Mapping[str, Any]) -> None:
        """Save `tree` and the JSON object `notes` as the state after `step`, in the background."""
        if step == self.latest_step:
            return
        raw = jax.tree.map(_raw_copy, tree)
        about = {
            "config": self._config,
            "arrays": _describe(raw),
            "sha256": _digest(raw),
            "notes": dict(notes),
        }
        self._manager.save(
            step,
            args=self._args.Composite(
                state=self._args.StandardSave(raw), about=self._args.JsonSave(about)
            ),
        )

    def restore(self, like: Pytree) -> tuple[Pytree, dict[str, Any]]:
        """Give the newest checkpoint's pytree, which has the structure of `like`, and its notes.

        Raises:
            CheckpointError: there is none; it was saved under another configuration or has other
                arrays (the message names each difference); or its bytes are damaged.
        """
        step = self.latest_step
        if step is None:
            raise CheckpointError(
                f"{self.folder} holds no checkpoint; start the run without resume"
            )
        about = self._read(step, about=self._args.JsonRestore()).about
        _refuse_differences("configuration", about["config"], self._config, self.folder)
        raw = jax.tree.map(_raw_copy, like)
        _refuse_differences("arrays", about["arrays"], _describe(raw), self.folder)
        restored = self._read(step, state=self._args.StandardRestore(raw)).state
        if _digest(restored) != about["sha256"]:
            raise CheckpointError(
                f"checkpoint {step} in {self.folder} is damaged: its SHA-256 is not the one noted "
                "when it was saved; start the run anew"
            )
        return jax.tree.map(_with_type, like, restored), about["notes"]

    def _read(self, step: int, **items: Any) -> Any:
        try:
            return self._manager.restore(step, args=self._args.Composite(**items))
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(
                f"checkpoint {step} in {self.folder} cannot be read ({reason}); start the run anew"
            ) from error


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw_copy(leaf: jax.Array) -> jax.Array:
    """Copy an array, so that a later step may reuse its memory while it is being written."""
    return jnp.copy(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _with_type(like: jax.Array, raw: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(raw, impl=jax.random.key_impl(like)) if _is_key(like) else raw


def _describe(tree: Pytree) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _digest(tree: Pytree) -> str:
    sha256 = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        sha256.update(np.ascontiguousarray(leaf).tobytes())
    return sha256.hexdigest()


def _refuse_differences(
    what: str, saved: Mapping[str, Any], expected: Mapping[str, Any], folder: Path
) -> None:
    missing = "(nothing)"
    differences = [
        f"{name} was {saved.get(name, missing)}, now is {expected.get(name, missing)}"
        for name in sorted(saved.keys() | expected.keys())
        if saved.get(name, missing) != expected.get(name, missing)
    ]
    if len(differences) > 8:
        differences[8:] = [f"and {len(differences) - 8} more"]
    if differences:
        raise CheckpointError(
            f"the checkpoint in {folder} was saved with another {what}: {'; '.join(differences)}; "
            "resume with what it was saved with, or start a run in another folder"
        )
