"""Saving a training run to disk and restoring exactly it, by Orbax."""

import concurrent.futures
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dilax.training.manifest import find_damage, write_manifest

Pytree = Any

NEWEST_KEPT = 2
_OURS = re.compile(r"(\d+)(\.sha256|\.orbax-checkpoint-tmp.*)?")


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or that of another run; the message says what to do."""


class Restored(NamedTuple):
    """What a checkpoint gave back."""

    tree: Pytree
    notes: dict[str, Any]
    passed_over: list[str]
    """Newer checkpoints that could not be used, and why."""


class Checkpoints:
    """The newest two checkpoints of a run and its best: a pytree of arrays, and JSON beside it.

    A context manager: leaving it waits until what was saved is on disk. Saving is done in the
    background, by one thread; of many processes, only the first one saves. PRNG keys are stored as
    their raw data. Beside each checkpoint lies a manifest of all its files, written last, for Orbax
    itself would restore altered bytes without a word: a checkpoint without one is not finished.

    Args:
        folder: where to keep them; made when something is saved.
        config: what must be equal for a run to continue; JSON.
    """

    def __init__(self, folder: Path, *, config: Mapping[str, Any]) -> None:
        import orbax.checkpoint as ocp

        self.folder = folder.absolute()
        self._config = json.loads(json.dumps(config))
        self._args = ocp.args
        alone = ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(),
            active_processes={jax.process_index()},
            barrier_sync_key_prefix=f"process_{jax.process_index()}",
        )
        # The handler, too, or it waits for processes that do not save.
        options = ocp.CompositeOptions(multiprocessing_options=alone)
        handler = ocp.CompositeCheckpointHandler(composite_options=options)
        self._orbax = ocp.Checkpointer(handler, multiprocessing_options=alone)
        self._writer = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._writing: concurrent.futures.Future | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.wait()
        finally:
            self._writer.shutdown()
            self._orbax.close()

    @property
    def steps(self) -> list[int]:
        """The steps of the finished checkpoints, the newest first."""
        names = [path.stem for path in self._entries() if path.suffix == ".sha256"]
        return sorted(map(int, names), reverse=True)

    def wait(self) -> None:
        """Wait until what was saved is on disk.

        Raises:
            CheckpointError: it could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def save(
        self, step: int, tree: Pytree, *, notes: Mapping[str, Any], best: int | None = None
    ) -> None:
        """Save `tree` and the JSON object `notes` as the state after `step`, in the background.

        What was kept of later steps goes: the run has come to `step` another way.

        Args:
            step: how many steps are done.
            tree: arrays; of those spread over processes, every process must call this.
            notes: JSON.
            best: the step whose checkpoint is kept beside the newest.

        Raises:
            CheckpointError: the save before this one could not be written.
        """
        self.wait()
        raw = jax.tree.map(_to_host, tree)
        if jax.process_index() == 0:
            about = {"config": self._config, "arrays": _describe(raw), "notes": dict(notes)}
            self._writing = self._writer.submit(self._write, step, raw, about, best)

    def restore(self, like: Pytree, *, step: int | None = None) -> Restored | None:
        """Give the newest checkpoint that is whole, or that of `step`; None when there is none.

        Args:
            like: a pytree of the same structure; its values do not matter.
            step: which checkpoint; left out, the newest that is whole.

        Raises:
            CheckpointError: it was saved under another configuration or has other arrays (the
                message names each difference); or there are checkpoints, and all are damaged.
        """
        self.wait()
        candidates = self.steps if step is None else [step]
        passed_over = self._unfinished() if step is None else []
        for candidate in candidates:
            damage = find_damage(self._manifest(candidate), self.folder / str(candidate))
            if damage is None:
                return Restored(*self._read(candidate, like), passed_over)
            passed_over.append(f"checkpoint {candidate} is damaged: {damage}")
        if candidates:
            raise CheckpointError(
                f"no checkpoint in {self.folder} can be used: {'; '.join(passed_over)}; start the "
                "run anew in another folder"
            )
        return None

    def _write(self, step: int, raw: Pytree, about: Mapping[str, Any], best: int | None) -> None:
        items = {"state": self._args.StandardSave(raw), "about": self._args.JsonSave(about)}
        try:
            self._manifest(step).unlink(missing_ok=True)
            self._orbax.save(
                self.folder / str(step), args=self._args.Composite(**items), force=True
            )
            write_manifest(self._manifest(step), self.folder / str(step))
        except Exception as error:
            raise CheckpointError(
                f"checkpoint {step} could not be written to {self.folder}: {_reason(error)}; "
                "earlier ones are as they were: make room or make the folder writable, then resume"
            ) from error
        earlier = [other for other in self.steps if other <= step]
        self._remove_all_but({*earlier[:NEWEST_KEPT], best})

    def _read(self, step: int, like: Pytree) -> tuple[Pytree, dict[str, Any]]:
        about = self._load(step, about=self._args.JsonRestore()).about
        _refuse_differences("configuration", about["config"], self._config, self.folder)
        raw = jax.tree.map(_to_host, like)
        _refuse_differences("arrays", about["arrays"], _describe(raw), self.folder)
        restored = self._load(step, state=self._args.StandardRestore(raw)).state
        return jax.tree.map(_with_type, like, restored), about["notes"]

    def _load(self, step: int, **items: Any) -> Any:
        try:
            return self._orbax.restore(self.folder / str(step), args=self._args.Composite(**items))
        except Exception as error:
            raise CheckpointError(
                f"checkpoint {step} in {self.folder} cannot be read ({_reason(error)}); start the "
                "run anew in another folder"
            ) from error

    def _manifest(self, step: int) -> Path:
        return self.folder / f"{step}.sha256"

    def _entries(self) -> list[Path]:
        """Give what was made here; other files in the folder are left alone."""
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if _OURS.fullmatch(path.name)]

    def _unfinished(self) -> list[str]:
        folders = {path.name for path in self._entries() if path.name.isdigit()}
        missing = sorted(folders - {str(step) for step in self.steps}, key=int, reverse=True)
        return [f"checkpoint {name} was not finished: {name}.sha256 is missing" for name in missing]

    def _remove_all_but(self, kept: set[int | None]) -> None:
        """Remove other checkpoints and what unfinished ones left, manifests first."""
        stale = [path for path in self._entries() if _step_of(path) not in kept]
        for path in sorted(stale, key=lambda path: path.suffix != ".sha256"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _step_of(path: Path) -> int:
    """Give the step that a file or folder belongs to; -1 for what a save left half done."""
    return -1 if ".orbax" in path.name else int(path.stem)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_host(leaf: jax.Array) -> np.ndarray:
    """Copy an array to memory that no later step writes to."""
    raw = jax.random.key_data(leaf) if _is_key(leaf) else leaf
    if isinstance(raw, jax.Array) and not raw.is_fully_addressable:
        if not raw.is_fully_replicated:
            return _gather(raw)
        raw = raw.addressable_data(0)
    return np.array(raw)


def _gather(array: jax.Array) -> np.ndarray:
    """Collect the parts that lie with other processes; all of them must call this."""
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(array, tiled=True)


def _with_type(like: jax.Array, raw: Any) -> jax.Array:
    if _is_key(like):
        return jax.random.wrap_key_data(jnp.asarray(raw), impl=jax.random.key_impl(like))
    return jnp.asarray(raw)


def _describe(tree: Pytree) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


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
