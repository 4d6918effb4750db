"""What a data set is: named splits of uint8 images and int32 labels, checked once when made."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from dilax._checks import check_instance, entries, integer, shown


class DataError(ValueError):
    """The data are missing, damaged or not what they claim to be; the message says what to do."""


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels.

    Attributes:
      images: uint8 ``(N, H, W, C)``, values 0 to 255; grey images have ``C = 1``.
      labels: int32 ``(N,)``, indices into the class names of the data set.

    Raises:
      TypeError: when either is not a NumPy array.
      DataError: when a dtype or a shape is another one, or the counts differ.

    >>> Split(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1], np.int32)).images.shape
    (2, 8, 8, 1)
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        _check_array("images", self.images, np.uint8, "(N, H, W, C)")
        _check_array("labels", self.labels, np.int32, "(N,)")
        if len(self.images) != len(self.labels):
            raise DataError(
                f"images and labels must have one length, got {len(self.images)} images and "
                f"{len(self.labels)} labels; is one of the two files cut short?"
            )

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A named image-classification set, whole in memory.

    Attributes:
      name: the name it was asked for by.
      splits: name of a split (``"train"``, ``"test"``, ...) to :class:`Split`; read-only.
      class_names: one name a class, in the order of the labels.
      source: where the arrays came from, for records.

    Raises:
      DataError: when there is no split, when two splits differ in the shape of an image, or when a
        label is not an index into ``class_names``.

    >>> split = Split(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1], np.int32))
    >>> data = Dataset("toy", {"train": split}, ("no", "yes"), source="by hand")
    >>> data.image_shape, len(data.fingerprint)
    ((8, 8, 1), 64)
    """

    name: str
    splits: Mapping[str, Split]
    class_names: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        check_instance(self.splits, Mapping, "splits")
        for split_name, split in self.splits.items():
            check_instance(split, Split, f"splits[{split_name!r}]")
        object.__setattr__(self, "splits", MappingProxyType(dict(self.splits)))
        object.__setattr__(self, "class_names", entries(self.class_names, "class_names", "names"))
        if not self.splits:
            raise DataError(f"splits of {self.name!r} must hold at least one split, got none.")
        _check_same_image_shape(self)
        for split_name, split in self.splits.items():
            _check_labels(f"{self.name}/{split_name}", split.labels, len(self.class_names))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        height, width, channels = next(iter(self.splits.values())).images.shape[1:]
        return height, width, channels

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over the arrays of all splits with their names and shapes."""
        digest = hashlib.sha256()
        for split_name, split in sorted(self.splits.items()):
            for array in (split.images, split.labels):
                digest.update(f"{split_name} {array.dtype.str} {array.shape};".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def make_split(images: np.ndarray, labels: np.ndarray) -> Split:
    """A :class:`Split` from arrays as files have them.

    Args:
      images: uint8 ``(N, H, W)`` or ``(N, H, W, C)``.
      labels: any integers ``(N,)`` that fit into int32.

    Raises:
      DataError: when ``labels`` are not such integers, or for the reasons :class:`Split` has.

    >>> make_split(np.zeros((2, 8, 8), np.uint8), np.array([3, 4])).images.shape
    (2, 8, 8, 1)
    """
    images, labels = _as_numpy(images, "images"), _as_numpy(labels, "labels")
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels must be integers (N,), got {labels.dtype} {labels.shape}.")
    limits = np.iinfo(np.int32)
    if labels.size and not (limits.min <= labels.min() and labels.max() <= limits.max):
        raise DataError(f"labels must fit into int32, got values up to {labels.max()}.")
    return Split(images, labels.astype(np.int32, copy=False))


def holdout(split: Split, count: int, *, seed: int = 0) -> tuple[Split, Split]:
    """Takes ``count`` examples out of a split, every class in proportion to its share.

    Class ``c`` with ``n_c`` of the ``N`` examples gives ``count * n_c / N`` of them, rounded by
    largest remainder; which ones is drawn from ``seed``. Both parts keep the order they had.

    Args:
      split: the split to divide, usually the training one.
      count: examples to hold out, from 0 to ``len(split)``.
      seed: of the draw; one seed gives one division.

    Returns:
      ``(rest, held_out)``.

    Raises:
      ValueError: when ``count`` is negative or above ``len(split)``.

    >>> split = make_split(np.zeros((10, 8, 8), np.uint8), np.repeat([0, 1], 5))
    >>> rest, held_out = holdout(split, 4)
    >>> len(rest), np.bincount(held_out.labels).tolist()
    (6, [2, 2])
    """
    check_instance(split, Split, "split")
    count = integer(count, "count")
    seed = integer(seed, "seed", minimum=0)
    if not 0 <= count <= len(split):
        raise ValueError(
            f"count must be between 0 and the {len(split)} examples of the split, got {count}."
        )
    generator = np.random.default_rng(seed)
    classes, members = np.unique(split.labels, return_counts=True)
    held = np.zeros(len(split), dtype=bool)
    for label, quota in zip(classes, _quotas(members, count), strict=True):
        held[generator.permutation(np.flatnonzero(split.labels == label))[:quota]] = True
    return _select(split, ~held), _select(split, held)


def _select(split: Split, mask: np.ndarray) -> Split:
    return Split(split.images[mask], split.labels[mask])


def _quotas(members: np.ndarray, count: int) -> np.ndarray:
    """Integers in proportion to ``members`` that sum to ``count``, by largest remainder."""
    total = max(int(members.sum()), 1)
    quotas, remainders = members * count // total, members * count % total
    largest_first = np.argsort(-remainders, kind="stable")
    quotas[largest_first[: count - quotas.sum()]] += 1
    return quotas


def _as_numpy(array: object, name: str) -> np.ndarray:
    try:
        return np.asarray(array)
    except Exception as error:  # whatever a strange object does when it is asked
        raise TypeError(f"{name} must be a NumPy array, got {shown(array)}.") from error


def _check_array(name: str, array: object, dtype: type, form: str) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(array).__name__}.")
    if array.dtype != dtype or array.ndim != form.count(",") + (form != "(N,)"):
        raise DataError(
            f"{name} must be {np.dtype(dtype)} {form}, got {array.dtype} {array.shape}."
        )


def _check_same_image_shape(data: Dataset) -> None:
    shapes = {name: split.images.shape[1:] for name, split in data.splits.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"all splits of {data.name!r} must have one image shape, got {shapes}.")


def _check_labels(where: str, labels: np.ndarray, classes: int) -> None:
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        raise DataError(
            f"labels of {where} must lie in 0..{classes - 1} (one for each class name), got "
            f"{labels.min()}..{labels.max()}; the file is damaged or has more classes."
        )
