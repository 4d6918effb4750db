"""Arguments as NumPy has them."""

from __future__ import annotations

from typing import Any


def plain(value: Any) -> Any:
    """Integers for integers of NumPy, and tuples of them for arrays and lists.

    >>> import numpy as np
    >>> plain(np.int64(2)), plain(np.array([[1, 2], [0, 3]])), plain("SAME")
    (2, ((1, 2), (0, 3)), 'SAME')
    """
    value = value.tolist() if hasattr(value, "tolist") else value
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else value
