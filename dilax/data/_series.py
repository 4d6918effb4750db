"""Time series with labels, of several channels and of different lengths."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dilax._checks import integer, number, shown
from dilax.data._dataset import DataError, SplitDataset
from dilax.data._series_files import SUFFIX, Series, read_file
from dilax.data._splits import SPLITS, few, hold_out


@dataclasses.dataclass(frozen=True, eq=False)
class SeriesSplit:
    """The time series of one split, their lengths and their labels.

    Attributes:
        series: float32 ``(N, T, channels)``; zero after the end of each series.
        lengths: int32 ``(N,)``, the number of values of each series, 1 to ``T``.
        labels: int32 ``(N,)``, indices into the class names of the data set.

    Raises:
        TypeError: One of them is no NumPy array.
        DataError: A dtype, a shape or a length differs from these, or a value is not finite.

    >>> ones = np.ones(2, np.int32)
    >>> len(SeriesSplit(np.zeros((2, 50, 3), np.float32), 50 * ones, ones))
    2
    """

    series: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        _check("series", self.series, np.float32, 3, "(N, T, channels)")
        for name in ("lengths", "labels"):
            _check(name, getattr(self, name), np.int32, 1, "(N,)")
        counts = [len(self.series), len(self.lengths), len(self.labels)]
        if len(set(counts)) > 1:
            raise DataError(
                "series, lengths and labels must be equally many, got "
                f"{', '.join(map(str, counts))}."
            )
        longest = self.series.shape[1]
        if len(self) and not 1 <= self.lengths.min() <= self.lengths.max() <= longest:
            raise DataError(
                f"lengths must be 1 to {longest}, the number of values that are there, got "
                f"{self.lengths.min()} to {self.lengths.max()}."
            )
        if not np.isfinite(self.series).all():
            raise DataError("series must be finite, got NaN or infinity; fill missing values.")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "SeriesSplit":
        """Select some series by their indices."""
        return SeriesSplit(self.series[rows], self.lengths[rows], self.labels[rows])


@dataclasses.dataclass(frozen=True, eq=False)
class SeriesDataset(SplitDataset):
    """A named set of time series with labels, held in memory.

    Attributes:
        name: The name by which it was asked for.
        splits: A :class:`SeriesSplit` by its name (``"train"``, ``"test"``, ...).
        class_names: The name of each class, in the order of the labels.
        source: Where the series came from, for records of experiments.

    Raises:
        DataError: There is one class only, a label is no class, or splits differ in channels.

    >>> ones = np.ones(2, np.int32)
    >>> split = SeriesSplit(np.zeros((2, 50, 3), np.float32), 50 * ones, ones)
    >>> SeriesDataset("toy", {"train": split}, ("no", "yes"), source="by hand").channels
    3
    """

    splits: Mapping[str, SeriesSplit]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.class_names) < 2:
            raise DataError(
                f"{self.name} must have at least two classes, got {few(self.class_names)}."
            )
        channels = {name: split.series.shape[2] for name, split in self.splits.items()}
        if len(set(channels.values())) != 1:
            raise DataError(
                f"all splits of {self.name} must have the same channels, got {channels}."
            )
        for name, split in self.splits.items():
            if len(split) and not 0 <= split.labels.min() <= split.labels.max() < len(
                self.class_names
            ):
                raise DataError(
                    f"labels of {self.name}/{name} must be 0 to {len(self.class_names) - 1}, got "
                    f"{split.labels.min()} to {split.labels.max()}."
                )

    @property
    def channels(self) -> int:
        """The number of values at each time."""
        return next(iter(self.splits.values())).series.shape[2]


def load_time_series(
    path: str | os.PathLike[str], *, test_share: float = 0.2, seed: int = 0
) -> SeriesDataset:
    """Load time series with labels from ``.ts`` files, the format of the UCR and UEA archives.

    Lines before ``@data`` are the header; of it, ``@classLabel``, ``@univariate``, ``@dimensions``,
    ``@equalLength`` and ``@seriesLength`` are checked against the series. Each line after it is a
    series: channels separated by colons, the values of each by commas, and the class::

        @univariate false
        @dimensions 2
        @equalLength false
        @classLabel true still moving
        @data
        0.1,0.2,0.3:1.5,1.5,1.4:still
        0.7,0.1:2.5,0.3:moving

    Series of different lengths are filled up with zeros to the longest. Values are as in the file;
    ``dilax.models.SeriesPreparation`` normalises them. Missing values are refused.

    Args:
        path: A folder with ``NAME_TRAIN.ts`` and ``NAME_TEST.ts``, or with ``train.ts`` and
            ``test.ts`` (and ``validation.ts``); or one file, of which a share is held out.
        test_share: Share of the series that is held out as the split ``test``, if there is none.
        seed: Seed of which ones are held out.

    Returns:
        The series of all splits. Classes are in the order of their names.

    Raises:
        DataError: A file is damaged, differs from its header or lacks values, or a class is only
            tested; the message names file and line.
        ValueError: The share is not between 0 and 1.
        TypeError: ``path`` is no path, or a number is none.
    """
    if not isinstance(path, str | os.PathLike) or not str(path).strip("\0"):
        raise TypeError(f"path must be the path of a file or a folder, got {shown(path)}.")
    if not 0 < number(test_share, "test_share") < 1:
        raise ValueError(f"test_share must be above 0 and below 1, got {test_share}.")
    place = Path(path)
    splits = {split: read_file(file) for split, file in _files(place).items()}
    source = str(place)
    if "test" not in splits:
        seed = integer(seed, "seed", minimum=0)
        splits |= hold_out(splits["train"], share=test_share, seed=seed, path=place, what="series")
        source += f", {test_share:.0%} held out as test (seed {seed})"
    names = _class_names(splits, place)
    longest = max(len(one.values) for listed in splits.values() for one in listed)
    padded = {split: _padded(listed, names, longest) for split, listed in splits.items()}
    return SeriesDataset(place.resolve().stem, padded, names, source=source)


def pad_series(series: Sequence[np.ndarray], longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Fill series ``(T, channels)`` up with zeros; return float32 of them, and their lengths.

    >>> padded, lengths = pad_series([np.ones((2, 1)), np.ones((3, 1))], 4)
    >>> padded.shape, lengths.tolist()
    ((2, 4, 1), [2, 3])
    """
    padded = np.zeros((len(series), longest, series[0].shape[1]), np.float32)
    for row, values in zip(padded, series, strict=True):
        row[: len(values)] = values[:longest]
    return padded, np.array([min(len(values), longest) for values in series], np.int32)


def _files(path: Path) -> dict[str, Path]:
    """Find the file of each split."""
    if path.is_file():
        return {"train": path}
    found: dict[str, Path] = {}
    for file in sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else ():
        split = file.stem.rpartition("_")[2].lower()
        if split in SPLITS and found.setdefault(split, file) != file:
            raise DataError(
                f"{path} must hold one set, got {found[split].name} and {file.name}; give each "
                "set a folder of its own."
            )
    if "train" not in found:
        raise DataError(
            f"{path} must be a {SUFFIX} file, or a folder with NAME_TRAIN{SUFFIX} and "
            f"NAME_TEST{SUFFIX}, got neither."
        )
    return found


def _class_names(splits: Mapping[str, list[Series]], path: Path) -> tuple[str, ...]:
    """Return the classes of training, after checking that there are two and no others."""
    names = tuple(sorted({one.label for one in splits["train"]}))
    if len(names) < 2:
        raise DataError(
            f"{path} must have series of at least two classes to train on, got {few(names)}."
        )
    first = splits["train"][0].values.shape[1]
    for one in (one for listed in splits.values() for one in listed):
        if one.label not in names:
            raise DataError(
                f"{one.place} must have a class that series for training have ({few(names)}), "
                f"got {one.label!r}; is it written alike?"
            )
        if one.values.shape[1] != first:
            raise DataError(
                f"{one.place} must have {first} channels, as the series for training, got "
                f"{one.values.shape[1]}."
            )
    return names


def _padded(listed: Sequence[Series], names: Sequence[str], longest: int) -> SeriesSplit:
    padded, lengths = pad_series([one.values for one in listed], longest)
    labels = np.array([names.index(one.label) for one in listed], np.int32)
    return SeriesSplit(padded, lengths, labels)


def _check(name: str, array: Any, dtype: type, axes: int, form: str) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {shown(array)}.")
    if array.dtype != dtype or array.ndim != axes:
        raise DataError(
            f"{name} must be {np.dtype(dtype)} {form}, got {array.dtype} {array.shape}."
        )
