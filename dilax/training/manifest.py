"""What every file in a folder holds, so that no damage goes unseen.

A manifest is text that `sha256sum --check` reads: a line a file, its SHA-256 and its path from the
folder that the manifest lies in.
"""

import hashlib
import os
from pathlib import Path


def write_manifest(path: Path, folder: Path) -> None:
    """Note all files of `folder`, which lies beside `path`; the manifest is whole or not there."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(f"{digest}  {name}\n" for name, digest in _digests(folder).items()))
    os.replace(partial, path)


def find_damage(path: Path, folder: Path) -> str | None:
    """Compare `folder` with its manifest; say what is wrong, None when nothing is.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> (root / "4").mkdir()
    >>> _ = (root / "4" / "data").write_text("kept")
    >>> write_manifest(root / "4.sha256", root / "4")
    >>> find_damage(root / "4.sha256", root / "4")
    >>> _ = (root / "4" / "data").write_text("bent")
    >>> find_damage(root / "4.sha256", root / "4")
    '4/data is not what was written'
    """
    try:
        lines = path.read_bytes().decode("utf-8").splitlines()
        noted = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        found = _digests(folder)
    except (OSError, UnicodeDecodeError) as error:
        return f"{path.name} or a file that it lists cannot be read ({error})"
    for name in sorted(noted.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in noted:
            return f"{name} was not there"
        if noted[name] != found[name]:
            return f"{name} is not what was written"
    return None if found else f"{folder.name} is empty"


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return {
        path.relative_to(folder.parent).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
