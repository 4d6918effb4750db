"""What readers of files share: names of splits, a share held out, short lists in messages."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from dilax._checks import number, shown
from dilax.data._dataset import DataError, SplitDataset

SPLITS = ("train", "validation", "test")
_MOST_NAMED = 5
Item = TypeVar("Item")


class Labelled(Protocol):
    """An example with its class, and where it was read, for messages."""

    @property
    def label(self) -> str: ...
    @property
    def place(self) -> str: ...


def check_place(path: str | os.PathLike[str], test_share: float) -> Path:
    """Return the path of a set, after checking it and the share to hold out.

    Raises:
        ValueError: The share is not between 0 and 1.
        TypeError: ``path`` is no path, or the share no number.
    """
    if not isinstance(path, str | os.PathLike) or not str(path).strip("\0"):
        raise TypeError(f"path must be the path of a file or a folder, got {shown(path)}.")
    if not 0 < number(test_share, "test_share") < 1:
        raise ValueError(f"test_share must be above 0 and below 1, got {test_share}.")
    return Path(path)


def trained_classes(
    splits: Mapping[str, Sequence[Labelled]], *, path: Path, what: str
) -> tuple[str, ...]:
    """Return the classes of training, after checking that there are two and no others.

    Raises:
        DataError: There is one, or an example of another split has a class of its own.
    """
    names = tuple(sorted({item.label for item in splits["train"]}))
    if len(names) < 2:
        raise DataError(
            f"{path} must have {what} of at least two classes to train on, got {few(names)}."
        )
    for item in (item for listed in splits.values() for item in listed):
        if item.label not in names:
            raise DataError(
                f"{item.place} must have a label that {what} for training have ({few(names)}), got "
                f"{item.label!r}; is it written alike?"
            )
    return names


def check_labels(dataset: SplitDataset) -> None:
    """Refuse labels that are no classes, or fewer than two classes.

    Raises:
        DataError: There is one class only, or a label is no class.
    """
    classes = dataset.class_names
    if len(classes) < 2:
        raise DataError(f"{dataset.name} must have at least two classes, got {few(classes)}.")
    for name, split in dataset.splits.items():
        labels = np.unique(split.labels)
        if len(labels) and not 0 <= labels[0] <= labels[-1] < len(classes):
            raise DataError(
                f"labels of {dataset.name}/{name} must be 0 to {len(classes) - 1}, got "
                f"{labels[0]} to {labels[-1]}."
            )


def hold_out(
    items: Sequence[Item], *, share: float, seed: int, path: Path, what: str
) -> dict[str, list[Item]]:
    """Hold a share of the items of ``path`` out as the split ``test``, drawn at random.

    At least one is held out, and one is left; both parts keep their order.

    Raises:
        DataError: There are fewer than two.

    >>> parts = hold_out("abcde", share=0.4, seed=0, path=Path("x"), what="letters")
    >>> len(parts["train"]), len(parts["test"])
    (3, 2)
    """
    if len(items) < 2:
        raise DataError(f"{path} must hold at least two {what}, one to test on, got {len(items)}.")
    order = np.random.default_rng(seed).permutation(len(items))
    count = min(max(round(share * len(items)), 1), len(items) - 1)
    return {
        "test": [items[place] for place in sorted(order[:count])],
        "train": [items[place] for place in sorted(order[count:])],
    }


def few(names: Sequence[str]) -> str:
    """Name the first of many.

    >>> few("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    more = len(names) - _MOST_NAMED
    listed = ", ".join(names[:_MOST_NAMED]) or "nothing"
    return f"{listed} and {more} more" if more > 0 else listed
