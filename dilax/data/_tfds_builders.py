"""TFDS's own MNIST, Fashion-MNIST, KMNIST, CIFAR-10 and CIFAR-100, prepared without TensorFlow.

The builders of ``tensorflow-datasets`` 4.9 use TensorFlow for three things: to unpack a download,
to open its files, and to encode an image. The subclasses here replace these three (downloads are
read as they are, by the readers of ``dilax.data``; images are passed on as PNG bytes) and keep
everything else: name, version, addresses, checksums, features. The result is an ordinary prepared
data set that ``tfds.data_source`` reads, with its examples in the order of the published files.

Importing this module imports TFDS.
"""

import io
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.image_classification import cifar, mnist

from dilax.data import _cifar, _idx
from dilax.data._names import KNOWN_SETS

_Tables = dict[str, tuple[np.ndarray, np.ndarray]]


def _png(image: np.ndarray) -> bytes:
    """Encode a uint8 image ``(H, W, 1)`` or ``(H, W, 3)`` as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()


class _WithoutTensorFlow:
    """The shared part of the builders; each subclass has its addresses and reads their files."""

    label_keys: tuple[str, ...] = ("label",)
    info: tfds.core.DatasetInfo

    @property
    def addresses(self) -> dict[str, list[str]]:
        """Lists of addresses to download, by names of our own."""
        raise NotImplementedError

    def _read(self, paths: dict[str, list[Path]]) -> _Tables:
        """Read the images and labels of each split from the files at ``addresses``."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        info = super()._info()  # type: ignore[misc]
        info.as_proto.disable_shuffling = True
        return info

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        tables = self._read(dl_manager.download(self.addresses))
        return {name: self._generate_examples(name, *arrays) for name, arrays in tables.items()}

    def _generate_examples(
        self, split_name: str, images: np.ndarray, labels: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        rows = labels.reshape(len(labels), len(self.label_keys)).tolist()
        for index, (image, row) in enumerate(zip(images, rows, strict=True)):
            example = {"image": _png(image), "id": f"{split_name}_{index:05d}"}
            example |= dict(zip(self.label_keys, row, strict=True))
            yield index, {key: example[key] for key in self.info.features}


class _Idx(_WithoutTensorFlow):
    """The sets of four gzipped IDX files under ``URL``."""

    URL: str

    @property
    def addresses(self) -> dict[str, list[str]]:
        return {
            split_name: [f"{self.URL}{file_name}.gz" for file_name in file_names]
            for split_name, file_names in _idx.FILE_NAMES.items()
        }

    def _read(self, paths: dict[str, list[Path]]) -> _Tables:
        return {
            split_name: (_idx.read_file(Path(images)), _idx.read_file(Path(labels)))
            for split_name, (images, labels) in paths.items()
        }


class _Cifar(_WithoutTensorFlow):
    """CIFAR's binary archives; the 20 coarse classes of CIFAR-100 have numbers and no names."""

    _cifar_info: cifar.CifarInfo

    @property
    def label_keys(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(self._cifar_info.label_keys)

    @property
    def addresses(self) -> dict[str, list[str]]:
        return {"archive": [self._cifar_info.url]}

    def _read(self, paths: dict[str, list[Path]]) -> _Tables:
        name, tables = _cifar.read_tables(Path(paths["archive"][0]))
        self.info.features["label"].names = list(KNOWN_SETS[name].class_names)
        return tables


def _combine(
    mixin: type, base: type[tfds.core.GeneratorBasedBuilder]
) -> type[tfds.core.GeneratorBasedBuilder]:
    """Create a builder with the name of ``base`` that is kept out of the registry of TFDS."""
    names = {"name": base.name, "__module__": __name__, "__doc__": base.__doc__}
    options = {"skip_registration": True}
    return types.new_class(base.__name__, (mixin, base), options, lambda body: body.update(names))


BUILDERS = {
    base.name: _combine(mixin, base)
    for mixin, bases in (
        (_Idx, (mnist.MNIST, mnist.FashionMNIST, mnist.KMNIST)),
        (_Cifar, (cifar.Cifar10, cifar.Cifar100)),
    )
    for base in bases
}
"""The class that prepares each set without TensorFlow, by the name of the set."""
