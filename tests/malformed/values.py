"""What callers pass by mistake, by the kind of argument that they pass it for."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

HUGE = (2**31, -(2**31) - 1, 2**63, 10**30)
NO_NUMBERS = (None, "", "3", "SAME", b"3", (), {}, {"a": 1}, object(), int, len, 1j, ...)
NO_ARRAYS = (*NO_NUMBERS, [[1.0], [1.0, 2.0]], [None], ["a"], np.array("a"), np.array([None]), HUGE)
DTYPES = (
    np.bool_, np.int8, np.int32, np.uint8, np.int64, np.float16, np.float64, np.complex64,
    jnp.bfloat16, np.str_, np.object_, "datetime64[s]",
)  # fmt: skip
FLOATS = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e15, 1e-40)


def nothing() -> st.SearchStrategy[Any]:
    """Values of no use as a number or a sequence of them."""
    return st.sampled_from(NO_NUMBERS) | st.text(max_size=9)


def no_functions() -> st.SearchStrategy[Any]:
    """In place of a function."""
    return nothing().filter(lambda value: not callable(value))


def integers() -> st.SearchStrategy[Any]:
    """In place of an integer; none so large that it takes time, and is no mistake."""
    whole = st.integers(-3, 5) | st.integers(max_value=-4) | st.integers(min_value=2**31)
    whole |= st.sampled_from(HUGE)
    return whole | st.floats(-9, 9) | st.sampled_from(FLOATS) | nothing()


def numbers() -> st.SearchStrategy[Any]:
    """In place of a real number."""
    return integers() | st.floats(-1e9, 1e9) | st.sampled_from([np.float32(0.5), np.ones(2)])


def tuples(entry: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[Any]:
    """In place of an integer for each axis: one, or a wrong number of them, or of wrong things."""
    entry = integers() if entry is None else entry
    return entry | st.lists(entry, max_size=4) | st.tuples(entry, entry) | nothing()


def paddings() -> st.SearchStrategy[Any]:
    """In place of a padding."""
    names = st.sampled_from(["same", "SAMME", "VALID", "CAUSAL", "REFLECT", "CIRCULAR", "wrap"])
    small = st.integers(-6, 6)
    pairs = st.tuples(small, small) | st.lists(integers(), max_size=3)
    return names | tuples() | tuples(pairs)


def arrays(like: Any) -> st.SearchStrategy[Any]:
    """In place of an array: no array, or one of another type, shape or of strange numbers."""
    like = np.asarray(like)
    shapes = st.sampled_from(_other_shapes(like.shape)) | st.lists(
        st.integers(0, 4), max_size=6
    ).map(tuple)
    return st.one_of(
        st.sampled_from([*NO_ARRAYS, jax.random.key(0), jax.ShapeDtypeStruct((), int)]),
        nothing(),
        shapes.map(lambda shape: np.ones(shape, like.dtype)),
        st.sampled_from(DTYPES).map(lambda dtype: np.ones(like.shape).astype(dtype)),
        st.sampled_from(FLOATS).flatmap(lambda value: _spoilt(like, value)),
    )


def _other_shapes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """One axis less, more, empty, shorter, longer."""
    places = range(len(shape))
    changed = [
        (*shape[:place], size, *shape[place + 1 :])
        for place in places
        for size in (0, 1, shape[place] - 1, shape[place] + 1, 2 * shape[place])
    ]
    fewer = [(*shape[:place], *shape[place + 1 :]) for place in places]
    return [*changed, *fewer, (1, *shape), (*shape, 1), (2, 3, *shape), ()]


def _spoilt(like: np.ndarray, value: float) -> st.SearchStrategy[np.ndarray]:
    """The array with a strange number at one place."""

    def at(place: int) -> np.ndarray:
        array = np.array(like, np.float32)
        array.flat[place] = value
        return array

    return st.integers(0, max(like.size - 1, 0)).map(at) if like.size else st.just(like)


def fields(params: Any) -> st.SearchStrategy[Any]:
    """In place of a named tuple of arrays: none, or one in which an array is malformed."""

    def altered(field: str) -> st.SearchStrategy[Any]:
        value = getattr(params, field)
        return _like(value).map(lambda other: params._replace(**{field: other}))

    return nothing() | st.sampled_from(params._fields).flatmap(altered)


def _like(value: Any) -> st.SearchStrategy[Any]:
    if isinstance(value, list):
        return nothing() | _like(value[0]).map(lambda other: [other, *value[1:]])
    return fields(value) if hasattr(value, "_fields") else arrays(value)
