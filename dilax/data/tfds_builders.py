"""TFDS's own MNIST, Fashion-MNIST, KMNIST, CIFAR-10 and CIFAR-100, prepared without TensorFlow.

The builders of ``tensorflow-datasets`` 4.9 use TensorFlow in three places: to unpack a download, to
open its files, and to encode an image. The subclasses here keep everything else (name, version,
addresses, checksums, features) and replace the three: downloads are read as they are, by
``dilax.data``'s own readers, and images are passed on as PNG bytes. The result is an ordinary
prepared data set that ``tfds.data_source`` reads. Examples keep the order of the published files.

Importing this module imports TFDS.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.image_classification import cifar, mnist

from dilax.data import cifar_archives, idx
from dilax.data.dataset import Split, make_split


def _png(image: np.ndarray) -> bytes:
    """``(H, W, 1)`` or ``(H, W, 3)`` uint8 as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, format="PNG")
    return buffer.getvalue()


class _WithoutTensorFlow:
    """What the subclasses share; ``_download`` is theirs."""

    def _info(self) -> tfds.core.DatasetInfo:
        info = super()._info()  # type: ignore[misc]
        info.as_proto.disable_shuffling = True
        return info

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {
            name: self._generate_examples(name, split)
            for name, split in self._download(dl_manager).items()
        }

    def _generate_examples(
        self, split_name: str, split: Split
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            yield index, self._example(f"{split_name}_{index:05d}", _png(image), int(label))

    def _download(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Split]:
        raise NotImplementedError

    def _example(self, identity: str, image: bytes, label: int) -> dict[str, Any]:
        return {"image": image, "label": label}


class _IdxBuilder(_WithoutTensorFlow):
    """For sets of four gzipped IDX files under ``URL``."""

    URL: str

    def _download(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Split]:
        paths = dl_manager.download(
            {
                split_name: [f"{self.URL}{file_name}.gz" for file_name in file_names]
                for split_name, file_names in idx.FILE_NAMES.items()
            }
        )
        return {
            split_name: make_split(*(idx.read_file(Path(path)) for path in pair))
            for split_name, pair in paths.items()
        }


class _CifarBuilder(_WithoutTensorFlow):
    """For the binary archives of CIFAR."""

    def _download(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Split]:
        data = cifar_archives.read(Path(dl_manager.download(self._cifar_info.url)))
        self.info.features["label"].names = list(data.class_names)
        return dict(data.splits)

    def _example(self, identity: str, image: bytes, label: int) -> dict[str, Any]:
        return {"id": identity, "image": image, "label": label}
