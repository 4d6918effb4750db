"""What a data set must be, and how a part of it is held out."""

import re

import numpy as np
import pytest

from dilax.data import DataError, Dataset, Split, holdout, make_split
from tests.data import files


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 4, 4, 1)), np.zeros(2, np.int32), "images must be uint8 .* got float64"),
        (
            np.zeros((2, 4, 4), np.uint8),
            np.zeros(2, np.int32),
            r"\(N, H, W, C\), got .* \(2, 4, 4\)",
        ),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2), "labels must be int32 .* got float64"),
        (
            np.zeros((2, 4, 4, 1), np.uint8),
            np.zeros((2, 1), np.int32),
            r"labels must be int32 \(N,\), got int32 \(2, 1\)",
        ),
        (
            np.zeros((3, 4, 4, 1), np.uint8),
            np.zeros(2, np.int32),
            "equally many, got 3 images and 2 labels",
        ),
    ],
)
def test_split_refuses(images: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Split(images, labels)


def test_split_must_hold_arrays() -> None:
    with pytest.raises(TypeError, match="labels must be a NumPy array, got list"):
        Split(np.zeros((1, 4, 4, 1), np.uint8), [0])


def test_labels_must_be_indices_of_classes() -> None:
    split = make_split(np.zeros((3, 4, 4), np.uint8), np.array([0, 1, 2]))
    with pytest.raises(DataError, match=re.escape("labels of toy/train must lie in 0..1")):
        Dataset("toy", {"train": split}, ("a", "b"), source="")


def test_negative_labels_are_refused() -> None:
    split = make_split(np.zeros((2, 4, 4), np.uint8), np.array([-1, 0]))
    with pytest.raises(DataError, match=r"got -1\.\.0"):
        Dataset("toy", {"train": split}, ("a",), source="")


def test_splits_must_agree_in_shape() -> None:
    splits = {
        "train": make_split(*files.arrays(2, (4, 4))),
        "test": make_split(*files.arrays(2, (5, 4))),
    }
    with pytest.raises(DataError, match="the same shape in all splits"):
        Dataset("toy", splits, ("a", "b"), source="")


def test_there_must_be_a_split() -> None:
    with pytest.raises(DataError, match="at least one split"):
        Dataset("toy", {}, ("a",), source="")


@pytest.mark.parametrize("labels", [np.array([0.0, 1.0]), np.array(["a", "b"])])
def test_make_split_wants_integer_labels(labels: np.ndarray) -> None:
    with pytest.raises(DataError, match="labels must be integers"):
        make_split(np.zeros((2, 4, 4), np.uint8), labels)


def test_make_split_refuses_labels_that_would_wrap() -> None:
    with pytest.raises(DataError, match="fit into int32"):
        make_split(np.zeros((2, 4, 4), np.uint8), np.array([0, 2**32]))


def test_splits_cannot_be_replaced() -> None:
    with pytest.raises(TypeError, match="item assignment"):
        files.dataset().splits["train"] = None  # type: ignore[index]


def test_fingerprint_sees_every_change() -> None:
    data = files.dataset()
    assert data.fingerprint == files.dataset().fingerprint
    for name, part in (("train", "images"), ("test", "labels")):
        changed = {key: Split(s.images.copy(), s.labels.copy()) for key, s in data.splits.items()}
        getattr(changed[name], part)[-1] ^= 1
        other = Dataset("toy", changed, ("a", "b", "c", "d"), source="")
        assert other.fingerprint != data.fingerprint


def test_holdout_divides_without_loss() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    split = make_split(np.arange(100, dtype=np.uint8).reshape(100, 1, 1), labels)
    rest, held_out = holdout(split, 10, seed=3)
    assert np.bincount(held_out.labels).tolist() == [5, 3, 2]
    both = np.concatenate([rest.images, held_out.images]).ravel()
    assert sorted(both.tolist()) == list(range(100))
    assert np.all(np.diff(rest.images.ravel().astype(int)) > 0)


@pytest.mark.parametrize("count", [0, 1, 7, 9])
def test_holdout_gives_the_exact_count(count: int) -> None:
    split = make_split(*files.arrays(9, (4, 4), classes=4))
    rest, held_out = holdout(split, count)
    assert (len(rest), len(held_out)) == (9 - count, count)


def test_holdout_follows_its_seed() -> None:
    split = make_split(*files.arrays(60, (4, 4)))
    first, again, other = (holdout(split, 20, seed=seed)[1].images for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("count", [-1, 10])
def test_holdout_refuses(count: int) -> None:
    with pytest.raises(ValueError, match=f"between 0 and the 9 examples of the split, got {count}"):
        holdout(make_split(*files.arrays(9, (4, 4))), count)
