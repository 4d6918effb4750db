"""Data sets from TensorFlow Datasets, with or without TensorFlow.

Sets that are prepared already are read whatever prepared them. The five in
``dilax.data._tfds_builders`` are prepared without TensorFlow, any other with it, where it is
installed.

Importing this module does not import TFDS; calling its functions does.
"""

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dilax.data._dataset import DataError, Dataset, Split, make_split
from dilax.data._files import check_size
from dilax.data._tfrecord import read_records

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_PROBE_SECONDS = 5.0
_CHUNK = 1000
_NEEDS_TENSORFLOW = (
    "TFDS prepares {name!r} with TensorFlow only, which is not installed: pip install tensorflow, "
    "or prepare it on another machine and load its folder by its path."
)


class UnknownNameError(DataError):
    """TFDS has no data set of this name either."""


def load(name: str, *, data_dir: Path | None = None) -> Dataset:
    """The data set ``name`` of TFDS, prepared first where it is not, with TFDS's progress bars.

    Args:
      name: as TFDS has it, such as ``"kmnist"`` or ``"emnist/letters"``.
      data_dir: where prepared sets are; left out, TFDS's own choice (``$TFDS_DATA_DIR``, else
        ``~/tensorflow_datasets``).

    Raises:
      UnknownNameError: when TFDS has no such set.
      DataError: when it must be prepared and cannot be (no network, no TensorFlow), or is no
        image-classification set that fits into one array.
    """
    import tensorflow_datasets as tfds

    builder = _builder(name, data_dir)
    if not builder.is_prepared():
        _prepare(builder, name)
    builder = tfds.builder_from_directory(builder.data_dir)
    return _read(builder, name, source=f"TFDS {builder.info.full_name}")


def read_directory(path: Path) -> Dataset:
    """A prepared set from its folder, such as ``tensorflow_datasets/mnist/3.0.1``.

    The format may be ``array_record`` or ``tfrecord``, TFDS's default.

    Raises:
      DataError: when there is no such set, several, or one that is damaged or not of images.
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
    """Whether ``path`` holds a prepared set, itself or up to two levels below."""
    return bool(_prepared_in(path))


def names() -> list[str]:
    """All names TFDS has, without those of the community."""
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
    except (tfds.core.DatasetNotFoundError, ValueError) as error:  # or no name at all
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
    """One address the builder will download from, where that can be known."""
    addresses = getattr(builder, "addresses", None)
    urls = next(iter(addresses.values())) if addresses else builder.url_infos or ()
    return next(iter(urls), None)


def _check_network(url: str | None) -> None:
    """Asks for ``url`` once, for a few seconds; TFDS itself would retry for minutes."""
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
    """The names of the features that are the image and the class label."""
    import tensorflow_datasets as tfds

    features = dict(builder.info.features.items())
    supervised = builder.info.supervised_keys or ()

    def first(kind: type) -> str:
        for key in (*supervised, *features):
            if isinstance(features.get(key), kind):
                return key
        raise DataError(
            f"{builder.info.full_name} must have an image and a class label to be an "
            f"image-classification set, got the features {sorted(features)}."
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
            raise DataError(f"the images of {where} must have one size to be one array.")
        check_size(count * images[0].size, where)
    if not images or len(images) != count:
        raise DataError(f"{where} must have {count} examples, got {len(images)}; it is damaged.")
    return make_split(np.stack(images), np.array(labels))


def _examples(builder: "tfds.core.DatasetBuilder", split_name: str) -> Iterator[dict[str, Any]]:
    """The decoded examples of a split, from either format."""
    if builder.info.file_format.value == "tfrecord":
        for path in builder.info.splits[split_name].filepaths:
            for record in read_records(Path(path)):
                yield builder.info.features.deserialize_example_np(record)
        return
    source = builder.as_data_source(split_name)
    for start in range(0, len(source), _CHUNK):
        yield from source.__getitems__(range(start, min(start + _CHUNK, len(source))))
