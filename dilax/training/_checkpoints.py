"""Checkpoints of a run: saved by Orbax, verified by a manifest, restored bit for bit.

Orbax's ``CheckpointManager`` is not used, because it deletes old checkpoints as soon as a new one
is committed, before the manifest that verifies the new one can be written.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from dilax.training._devices import is_main_process
from dilax.training._records import read_json, write_json, write_text

Pytree = Any

NEWEST_KEPT = 2
MOST_LISTED = 8
"""Most differences in a message."""
ARRAYS, ABOUT = "arrays", "about.json"
_OURS = re.compile(r"\d+(\.sha256)?")


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or from another run; the message says what to do."""


class SaveError(CheckpointError):
    """A checkpoint cannot be written, for example because the disk is full."""


class MismatchError(CheckpointError):
    """A run was started with another configuration than it shall continue with."""

    def __init__(self, folder: Path, differences: Mapping[str, tuple[str, str]]) -> None:
        self.folder = folder
        """The folder of the checkpoints."""
        self.differences = differences
        """What differs: by name, its value then and now."""
        super().__init__(_differences("configuration", differences, folder))


class Restored(NamedTuple):
    """A restored checkpoint."""

    tree: Pytree
    notes: dict[str, Any]
    description: dict[str, Any]
    """What the arrays are of; empty if it was not said."""
    skipped: list[str]
    """Newer checkpoints that could not be used, and why."""


class Checkpoints:
    """The newest two checkpoints of a run and its best: a pytree of arrays, and JSON.

    A context manager: on exit it waits until everything is on disk. A background thread writes the
    files; of several processes, only the first one does. PRNG keys are stored as raw data. Beside
    each checkpoint lies a manifest of its files, written last: a checkpoint without a manifest is
    incomplete, and one that differs from it is damaged, which Orbax alone would not notice.

    Args:
        folder: Where to keep them; created by the first save.
        config: JSON that must be equal for a run to continue.
        description: JSON that says what the arrays are of.
    """

    def __init__(
        self,
        folder: Path,
        *,
        config: Mapping[str, Any],
        description: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        import orbax.checkpoint as ocp

        self.folder = folder.absolute()
        self._config = json.loads(json.dumps(config))
        self._description = json.loads(json.dumps(dict(description)))
        self._args = ocp.args
        this_process = ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(),
            active_processes={jax.process_index()},
            barrier_sync_key_prefix=f"process_{jax.process_index()}",
        )
        handler = ocp.StandardCheckpointHandler(multiprocessing_options=this_process)
        self._orbax = ocp.Checkpointer(handler, multiprocessing_options=this_process)
        self._writer = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._writing: concurrent.futures.Future | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.wait()
        finally:
            self._writer.shutdown()
            self._orbax.close()

    @property
    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, newest first."""
        names = [path.stem for path in self._entries() if path.suffix == ".sha256"]
        return sorted(map(int, names), reverse=True)

    def wait(self) -> None:
        """Wait until everything is on disk.

        Raises:
            SaveError: It could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def save(
        self, step: int, tree: Pytree, *, notes: Mapping[str, Any], best: int | None = None
    ) -> None:
        """Save ``tree`` and ``notes`` as the state after ``step``, in the background.

        Later checkpoints, which are of an abandoned continuation, are deleted.

        Args:
            step: Number of completed steps.
            tree: Arrays; every process must call this if they are spread over processes.
            notes: A JSON object.
            best: The step whose checkpoint is kept beside the newest two.

        Raises:
            SaveError: The previous checkpoint could not be written.
        """
        self.wait()
        raw = jax.tree.map(_to_host, tree)
        if is_main_process():
            notes = json.loads(json.dumps(notes))  # a copy: the caller may go on changing its own
            about = {
                "config": self._config,
                "description": self._description,
                "arrays": _describe(raw),
                "notes": notes,
            }
            self._writing = self._writer.submit(self._write, step, raw, about, best)

    def restore(self, like: Pytree | None, *, step: int | None = None) -> Restored | None:
        """Restore the newest intact checkpoint, or that of ``step``; None if there is none.

        Every process must call this: those that read wait for the one that writes.

        Args:
            like: A pytree with the same structure, shapes and types. None restores what there is,
                as nested dictionaries of NumPy arrays, whatever its configuration.
            step: Which checkpoint; None for the newest intact one.

        Raises:
            MismatchError: It was saved with another configuration.
            CheckpointError: It holds other arrays (the message names each difference); or all
                checkpoints are damaged.
        """
        self.wait()
        multihost_utils.sync_global_devices("checkpoints are written")
        candidates = self.steps if step is None else [step]
        skipped = self._incomplete() if step is None else []
        for candidate in candidates:
            damage = find_damage(self._manifest(candidate), self.folder / str(candidate))
            if damage is None:
                return Restored(*self._read(candidate, like), skipped)
            skipped.append(f"checkpoint {candidate} is damaged: {damage}")
        if candidates:
            raise CheckpointError(
                f"no checkpoint in {self.folder} can be used: {'; '.join(skipped)}; start the "
                "run anew in another folder."
            )
        return None

    def _write(self, step: int, raw: Pytree, about: Mapping[str, Any], best: int | None) -> None:
        path, manifest = self.folder / str(step), self._manifest(step)
        try:
            manifest.unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)
            with _errors_said_once():
                self._orbax.save(path / ARRAYS, args=self._args.StandardSave(raw))
            write_json(path / ABOUT, about)
            write_manifest(manifest, path)
        except Exception as error:
            raise SaveError(
                f"checkpoint {step} could not be written to {self.folder}: {_reason(error)}; "
                "earlier ones are unchanged: free some space or make the folder writable, then "
                "resume."
            ) from error
        earlier = [other for other in self.steps if other <= step]
        self._remove_all_but({*earlier[:NEWEST_KEPT], best})

    def _read(
        self, step: int, like: Pytree | None
    ) -> tuple[Pytree, dict[str, Any], dict[str, Any]]:
        path = self.folder / str(step)
        about = read_json(path / ABOUT)
        texts = about["notes"], about.get("description", {})
        if like is None:
            return self._orbax.restore(path / ARRAYS), *texts
        raw = jax.tree.map(_to_host, like)
        if other := _compare(about["config"], self._config):
            raise MismatchError(self.folder, other)
        if other := _compare(about["arrays"], _describe(raw)):
            raise CheckpointError(_differences("arrays", other, self.folder))
        restored = self._orbax.restore(path / ARRAYS, args=self._args.StandardRestore(raw))
        return jax.tree.map(_with_type, like, restored), *texts

    def _manifest(self, step: int) -> Path:
        return self.folder / f"{step}.sha256"

    def _entries(self) -> list[Path]:
        """List checkpoints and manifests; other files in the folder are never touched."""
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if _OURS.fullmatch(path.name)]

    def _incomplete(self) -> list[str]:
        missing = {int(path.stem) for path in self._entries()} - set(self.steps)
        return [
            f"checkpoint {step} is incomplete: {step}.sha256 is missing"
            for step in sorted(missing, reverse=True)
        ]

    def _remove_all_but(self, kept: set[int | None]) -> None:
        """Delete the other checkpoints, complete or not, manifests first."""
        stale = [path for path in self._entries() if int(path.stem) not in kept]
        for path in sorted(stale, key=lambda path: path.suffix != ".sha256"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def write_manifest(path: Path, folder: Path) -> None:
    """Write the SHA-256 of all files in ``folder``, which lies beside ``path``.

    The format is that of ``sha256sum --check``, with paths from the folder of the manifest.
    """
    lines = [f"{digest}  {name}\n" for name, digest in _digests(folder).items()]
    write_text(path, "".join(lines))


def find_damage(path: Path, folder: Path) -> str | None:
    """Compare ``folder`` with its manifest at ``path``; describe the first difference, if any.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> (root / "4").mkdir()
    >>> _ = (root / "4" / "data").write_text("kept")
    >>> write_manifest(root / "4.sha256", root / "4")
    >>> find_damage(root / "4.sha256", root / "4")
    >>> _ = (root / "4" / "data").write_text("bent")
    >>> find_damage(root / "4.sha256", root / "4")
    '4/data has another content than was written'
    """
    try:
        lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
        written = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        found = _digests(folder)
    except (OSError, UnicodeDecodeError) as error:
        return f"{path.name} or a file that it lists cannot be read ({error})"
    for name in sorted(written.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in written:
            return f"{name} was added"
        if written[name] != found[name]:
            return f"{name} has another content than was written"
    return None if found else f"{folder.name} is empty"


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return {
        path.relative_to(folder.parent).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


@contextlib.contextmanager
def _errors_said_once() -> Iterator[None]:
    """Keep Orbax from logging the tracebacks of errors that it also raises."""
    logger = logging.getLogger("absl")

    def of_others(record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname

    logger.addFilter(of_others)
    try:
        yield
    finally:
        logger.removeFilter(of_others)


def _reason(error: Exception) -> str:
    """Say why something could not be written, with the system's words if TensorStore gives them."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    found = re.search(r"([^:]+) \[os_error_code=", first)
    return found[1].strip() if found else first


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_host(leaf: jax.Array) -> np.ndarray:
    """Copy an array to host memory, so that a later step may reuse its buffer."""
    raw = jax.random.key_data(leaf) if _is_key(leaf) else leaf
    if isinstance(raw, jax.Array) and not raw.is_fully_addressable:
        if not raw.is_fully_replicated:
            return multihost_utils.process_allgather(raw, tiled=True)
        raw = raw.addressable_data(0)
    return np.array(raw)


def _with_type(like: jax.Array, raw: Any) -> jax.Array:
    if _is_key(like):
        return jax.random.wrap_key_data(jnp.asarray(raw), impl=jax.random.key_impl(like))
    return jnp.asarray(raw)


def _describe(tree: Pytree) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _compare(saved: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Find what differs: by name, its value then and now. A missing value equals None."""

    def text(value: Any) -> str:
        return "(nothing)" if value is None else str(value)

    pairs = {name: (saved.get(name), expected.get(name)) for name in saved.keys() | expected.keys()}
    return {
        name: (text(then), text(now)) for name, (then, now) in sorted(pairs.items()) if then != now
    }


def _differences(what: str, found: Mapping[str, tuple[str, str]], folder: Path) -> str:
    listed = [f"{name} was {then}, now is {now}" for name, (then, now) in found.items()]
    if len(listed) > MOST_LISTED:
        listed[MOST_LISTED:] = [f"and {len(listed) - MOST_LISTED} more"]
    return (
        f"the checkpoint in {folder} was saved with another {what}: {'; '.join(listed)}; resume "
        "with the same one, or start a run in another folder."
    )
