"""Data sets from TensorFlow Datasets (TFDS), with or without TensorFlow.

Sets that are prepared already are read, whatever prepared them. Those in
``dilax.data._tfds_builders`` are prepared without TensorFlow; any other needs it.

Calling the functions of this module imports TFDS, importing the module does not.
"""

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dilax.data._dataset import DataError, Dataset, Split, check_size, make_split

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_PROBE_SECONDS = 5.0
_CHUNK = 1000
_NEEDS_TENSORFLOW = (
    "TFDS prepares {name!r} with TensorFlow only, which is not installed; pip install tensorflow, "
    "or prepare it on another machine and load its folder by its path."
)


class UnknownNameError(DataError):
    """TFDS has no data set of a name."""


def load(name: str, *, data_dir: Path | None = None) -> Dataset:
    """Load the data set ``name`` of TFDS; prepare it first, with progress bars, where it is not.

    Args:
        name: Its name in TFDS, such as ``"kmnist"`` or ``"emnist/letters"``.
        data_dir: Where prepared sets are; by default where TFDS keeps them (``$TFDS_DATA_DIR``,
            else ``~/tensorflow_datasets``).

    Raises:
        UnknownNameError: When TFDS has no such set.
        DataError: It must be prepared and cannot be (no network, no TensorFlow), or is not an
            image-classification set that fits into one array.
    """
    import tensorflow_datasets as tfds

    builder = _builder(name, data_dir)
    if not builder.is_prepared():
        _prepare(builder, name)
    builder = tfds.builder_from_directory(builder.data_dir)
    return _read(builder, name, source=f"TFDS {builder.info.full_name}")


def read_directory(path: Path) -> Dataset:
    """Read a prepared set from its folder, such as ``tensorflow_datasets/mnist/3.0.1``.

    Its format may be ``array_record``, or ``tfrecord``, which is TFDS's default.
    """
    import tensorflow_datasets as tfds

    found = _prepared_in(path)
    if len(found) != 1:
        raise DataError(
            f"{path} must hold one prepared TFDS set (a dataset_info.json), got "
            f"{[str(folder) for folder in found]}; give the folder of one of them."
        )
    builder = tfds.builder_from_directory(found[0])
    return _read(builder, builder.name, source=str(found[0]))


def is_directory(path: Path) -> bool:
    """Return whether ``path`` holds a prepared set, itself or up to two levels below."""
    return bool(_prepared_in(path))


def names() -> list[str]:
    """List the names of all data sets of TFDS, without those of its community."""
    import tensorflow_datasets as tfds

    return tfds.list_builders(with_community_datasets=False)


def _prepared_in(path: Path) -> list[Path]:
    levels = ("", "*/", "*/*/")
    return [
        info.parent for level in levels for info in sorted(path.glob(f"{level}dataset_info.json"))
    ]


def _builder(name: str, data_dir: Path | None) -> "tfds.core.DatasetBuilder":
    import tensorflow_datasets as tfds

    from dilax.data._tfds_builders import BUILDERS

    if name in BUILDERS:
        builder = BUILDERS[name](data_dir=data_dir)
        if builder.is_prepared():
            return builder
        return BUILDERS[name](data_dir=data_dir, file_format="array_record")
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:  # ValueError: no valid name
        raise UnknownNameError(f"TFDS has no data set {name!r}.") from error
    except ImportError as error:
        raise DataError(_NEEDS_TENSORFLOW.format(name=name)) from error


def _prepare(builder: "tfds.core.DatasetBuilder", name: str) -> None:
    import tensorflow_datasets as tfds

    from dilax.data._tfds_builders import BUILDERS

    if name not in BUILDERS and importlib.util.find_spec("tensorflow") is None:
        raise DataError(_NEEDS_TENSORFLOW.format(name=name))
    _check_network(_first_address(builder))
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        builder.download_and_prepare(download_config=config)
    except Exception as error:  # whatever TFDS, its builders or the network raise
        raise DataError(f"TFDS could not prepare {name!r}: {error!r}.") from error


def _first_address(builder: "tfds.core.DatasetBuilder") -> str | None:
    """Return one address from which the builder will download, if one is known."""
    addresses = getattr(builder, "addresses", None)
    urls = next(iter(addresses.values())) if addresses else builder.url_infos or ()
    return next(iter(urls), None)


def _check_network(url: str | None) -> None:
    """Ask for ``url`` once, for a few seconds; TFDS itself would retry for minutes."""
    if url is None:
        return
    failures: list[str] = []
    probe = threading.Thread(target=_probe, args=(url, failures), daemon=True)
    probe.start()
    probe.join(2 * _PROBE_SECONDS)
    if probe.is_alive() or failures:
        reason = failures[0] if failures else "no answer"
        raise DataError(f"{url} cannot be reached ({reason}).")


def _probe(url: str, failures: list[str]) -> None:
    import requests

    try:
        with requests.get(url, stream=True, timeout=_PROBE_SECONDS) as response:
            response.raise_for_status()
    except requests.RequestException as error:
        failures.append(type(error).__name__)


def _read(builder: "tfds.core.DatasetBuilder", name: str, source: str) -> Dataset:
    image_key, label_key = _feature_keys(builder)
    try:
        splits = {
            split_name: _read_split(builder, split_name, image_key, label_key)
            for split_name in builder.info.splits
        }
    except DataError:
        raise
    except Exception as error:  # damaged files: whatever the readers of TFDS raise
        raise DataError(f"{builder.data_dir} could not be read: {error!r}.") from error
    class_names = builder.info.features[label_key].names
    return Dataset(name, splits, tuple(class_names), source)


def _feature_keys(builder: "tfds.core.DatasetBuilder") -> tuple[str, str]:
    """Find the names of the image and of the class label among the features."""
    import tensorflow_datasets as tfds

    features = dict(builder.info.features.items())
    supervised = builder.info.supervised_keys or ()

    def first(kind: type) -> str:
        for key in (*supervised, *features):
            if isinstance(features.get(key), kind):
                return key
        raise DataError(
            f"{builder.info.full_name} must have an image and a class label, as an "
            f"image-classification set has, got the features {sorted(features)}."
        )

    return first(tfds.features.Image), first(tfds.features.ClassLabel)


def _read_split(
    builder: "tfds.core.DatasetBuilder", split_name: str, image_key: str, label_key: str
) -> Split:
    where = f"{builder.info.full_name}, {split_name}"
    count = builder.info.splits[split_name].num_examples
    images: list[np.ndarray] = []
    labels: list[int] = []
    for example in _examples(builder, split_name):
        images.append(example[image_key])
        labels.append(example[label_key])
        if images[0].shape != images[-1].shape:
            raise DataError(
                f"images of {where} must have the same shape, to be one array, got "
                f"{images[0].shape} and {images[-1].shape}."
            )
        check_size(count * images[0].size, where)
    if not images or len(images) != count:
        raise DataError(f"{where} must have {count} examples, got {len(images)}; prepare it anew.")
    return make_split(np.stack(images), np.array(labels))


def _examples(builder: "tfds.core.DatasetBuilder", split_name: str) -> Iterator[dict[str, Any]]:
    """Iterate over the decoded examples of a split, in either of the two formats."""
    if builder.info.file_format.value == "tfrecord":
        for path in builder.info.splits[split_name].filepaths:
            for record in _records(Path(path)):
                yield builder.info.features.deserialize_example_np(record)
        return
    source = builder.as_data_source(split_name)
    for start in range(0, len(source), _CHUNK):
        yield from source.__getitems__(range(start, min(start + _CHUNK, len(source))))


def _records(path: Path) -> Iterator[bytes]:
    """Iterate over the records of a TFRecord file: length, 4-byte checksum, bytes, 4-byte checksum.

    Format: https://www.tensorflow.org/tutorials/load_data/tfrecord. Its checksums (CRC-32C) are not
    verified, which in Python would take longer than decoding. Damage is noticed by the lengths,
    which must lead to the end of the file, by the number of records, and by PNG's own checksums.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        while header := file.read(12):
            length = int.from_bytes(header[:8], "little")
            if len(header) < 12 or file.tell() + length + 4 > size:
                raise DataError(
                    f"{path} is cut short or no TFRecord file: a record of {length} bytes begins "
                    f"at byte {file.tell()} of {size}; prepare the data set again."
                )
            yield file.read(length)
            file.seek(4, 1)
