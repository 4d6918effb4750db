"""A data set: named splits of uint8 images and int32 labels, checked when it is created."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from dilax._checks import check_instance, entries, integer, shown

MAX_BYTES = 4 * 2**30
"""The largest array, archive or file that is read into memory (4 GiB)."""


class DataError(ValueError):
    """Data are missing, damaged or not what they claim to be; the message says what to do."""


def check_size(count: int, where: str) -> None:
    """Refuse more than ``MAX_BYTES`` bytes, before memory is allocated for them."""
    if count > MAX_BYTES:
        raise DataError(
            f"{where} must be at most {MAX_BYTES} bytes, which are read into memory, got {count}; "
            f"the file is damaged, or the set too large."
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The images of one split of a data set, and their labels.

    Attributes:
        images: uint8 ``(N, H, W, C)``, values 0 to 255; grey images have ``C = 1``.
        labels: int32 ``(N,)``, indices into the class names of the data set.

    Raises:
        TypeError: Either is not a NumPy array.
        DataError: A dtype or a shape differs from these, or the counts differ.

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
                f"images and labels must be equally many, got {len(self.images)} images and "
                f"{len(self.labels)} labels; is one of the two files cut short?"
            )

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True, eq=False)
class SplitDataset:
    """A named set of splits, held in memory: the base class of data sets."""

    name: str
    splits: Mapping[str, Any]
    class_names: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "splits", MappingProxyType(dict(self.splits)))

    def __reduce__(self) -> tuple[type["SplitDataset"], tuple[object, ...]]:
        """Pickle and copy it by its attributes: a read-only mapping can't be pickled."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return type(self), tuple((values | {"splits": dict(self.splits)}).values())

    @functools.cached_property
    def fingerprint(self) -> str:
        """The SHA-256, in hexadecimal, of all splits: their names, dtypes, shapes and arrays."""
        return fingerprint_of(self.splits, lambda split: vars(split).values())


def fingerprint_of(
    splits: Mapping[str, Any], arrays_of: Callable[[Any], Iterable[np.ndarray]]
) -> str:
    """Compute the SHA-256 of all arrays of named splits, with their dtypes and shapes."""
    digest = hashlib.sha256()
    for name, split in sorted(splits.items()):
        for array in arrays_of(split):
            digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset(SplitDataset):
    """A named image-classification set that is held in memory.

    Attributes:
        name: The name by which it was asked for.
        splits: A :class:`Split` by its name (``"train"``, ``"test"``, ...); read-only.
        class_names: The name of each class, in the order of the labels.
        source: Where the arrays came from, for records of experiments.
        notes: What a user should know of how they were made, such as files that were left out.

    Raises:
        TypeError: ``splits`` is not a mapping of splits, or ``class_names`` not a sequence.
        DataError: There is no split, when two splits differ in the shape of their images, or
            when a label is not an index into ``class_names``.

    >>> split = Split(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1], np.int32))
    >>> data = Dataset("toy", {"train": split}, ("no", "yes"), source="by hand")
    >>> data.image_shape, len(data.fingerprint)
    ((8, 8, 1), 64)
    """

    splits: Mapping[str, Split]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_instance(self.splits, Mapping, "splits")
        for split_name, split in self.splits.items():
            check_instance(split, Split, f"splits[{split_name!r}]")
        super().__post_init__()
        object.__setattr__(self, "class_names", entries(self.class_names, "class_names", "names"))
        if not self.splits:
            raise DataError(f"splits of {self.name!r} must hold at least one split, got none.")
        shapes = {name: split.images.shape[1:] for name, split in self.splits.items()}
        if len(set(shapes.values())) > 1:
            raise DataError(
                f"images of {self.name!r} must have the same shape in all splits, got {shapes}."
            )
        last = len(self.class_names) - 1
        for split_name, split in self.splits.items():
            labels = split.labels
            if labels.size and not 0 <= labels.min() <= labels.max() <= last:
                raise DataError(
                    f"labels of {self.name}/{split_name} must lie in 0..{last} (one for each class "
                    f"name), got {labels.min()}..{labels.max()}; the file is damaged or has more "
                    "classes."
                )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The height, width and channels of every image."""
        height, width, channels = next(iter(self.splits.values())).images.shape[1:]
        return height, width, channels


def make_split(images: np.ndarray, labels: np.ndarray) -> Split:
    """Create a :class:`Split` from arrays that may lack the axis of channels, or hold long labels.

    Args:
        images: uint8 ``(N, H, W)`` or ``(N, H, W, C)``.
        labels: Integers ``(N,)`` or ``(N, 1)`` of any dtype, which must fit into int32.

    Returns:
        The split: images ``(N, H, W, C)``, with ``C = 1`` where there was no such axis, and int32
        labels.

    Raises:
        TypeError: Either cannot be converted to an array.
        DataError: A dtype or a shape differs from these, or the counts differ.

    >>> make_split(np.zeros((2, 8, 8), np.uint8), np.array([3, 4])).images.shape
    (2, 8, 8, 1)
    """
    images, labels = _array(images, "images"), _array(labels, "labels")
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if (images.ndim == 4 and images.dtype != np.uint8) or _channels_first(images.shape):
        raise DataError(
            f"images must be uint8 (N, H, W, C), got {images.dtype} {images.shape}; convert them "
            f"by {_conversion(images)}."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels must be integers (N,), got {labels.dtype} {labels.shape}.")
    limits = np.iinfo(np.int32)
    if labels.size and not (limits.min <= labels.min() and labels.max() <= limits.max):
        raise DataError(f"labels must fit into int32, got values up to {labels.max()}.")
    return Split(images, labels.astype(np.int32, copy=False))


def _channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[1] in (1, 3, 4) and min(shape[2:]) > 4


def _conversion(images: np.ndarray) -> str:
    """Return the code that makes 8-bit, channels-last images of others."""
    if _channels_first(images.shape):
        return "images.transpose(0, 2, 3, 1)"
    if images.dtype == np.uint16:
        return "(images // 257).astype('uint8')"
    fractions = images.dtype.kind == "f" and images.max(initial=0) <= 1
    return f"({'images * 255' if fractions else 'images'}).round().astype('uint8')"


def holdout(split: Split, count: int, *, seed: int = 0) -> tuple[Split, Split]:
    """Hold ``count`` examples out of a split, of every class in proportion to its share.

    A class with ``n`` of the ``N`` examples gives ``count * n / N`` of them, rounded by largest
    remainder. They are drawn at random; both parts keep the order of the split.

    Args:
        split: The split to divide, usually the training split.
        count: How many examples to hold out, from 0 to ``len(split)``.
        seed: Seed of the draw; the same seed gives the same division.

    Returns:
        ``(rest, held_out)``.

    Raises:
        TypeError: ``split`` is not a split, or ``count`` or ``seed`` not an integer.
        ValueError: ``count`` is negative or above ``len(split)``, or ``seed`` is negative.

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
    classes, sizes = np.unique(split.labels, return_counts=True)
    held = np.zeros(len(split), dtype=bool)
    for label, quota in zip(classes, _quotas(sizes, count), strict=True):
        held[generator.permutation(np.flatnonzero(split.labels == label))[:quota]] = True
    rest, held_out = (Split(split.images[mask], split.labels[mask]) for mask in (~held, held))
    return rest, held_out


def _quotas(sizes: np.ndarray, count: int) -> np.ndarray:
    """Integers in proportion to ``sizes`` that sum to ``count``, by largest remainder."""
    total = max(int(sizes.sum()), 1)
    quotas, remainders = sizes * count // total, sizes * count % total
    largest_first = np.argsort(-remainders, kind="stable")
    quotas[largest_first[: count - quotas.sum()]] += 1
    return quotas


def _array(array: object, name: str) -> np.ndarray:
    try:
        return np.asarray(array)
    except Exception as error:  # converting an arbitrary object may raise anything
        raise TypeError(f"{name} must be a NumPy array, got {shown(array)}.") from error


def _check_array(name: str, array: object, dtype: type, form: str) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(array).__name__}.")
    if array.dtype != dtype or array.ndim != form.count(",") + (form != "(N,)"):
        raise DataError(
            f"{name} must be {np.dtype(dtype)} {form}, got {array.dtype} {array.shape}."
        )
