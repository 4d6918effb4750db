"""What readers of files share: names of splits, a share held out, short lists in messages."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from dilax.data._dataset import DataError

SPLITS = ("train", "validation", "test")
_MOST_NAMED = 5
Item = TypeVar("Item")


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
