"""What a data set must be, and how a part of it is held out."""

from collections.abc import Callable

import numpy as np
import pytest

from dilax.data import DataError, Dataset, Split, holdout, make_split
from tests.data import files

IMAGES, GREY = np.zeros((2, 4, 4, 1), np.uint8), np.zeros((2, 4, 4), np.uint8)
LABELS = np.zeros(2, np.int32)
TWO_SHAPES = {
    "train": make_split(*files.arrays(2, (4, 4))),
    "test": make_split(*files.arrays(2, (5, 4))),
}


def of_two_classes(labels: list[int]) -> Dataset:
    split = make_split(np.zeros((len(labels), 4, 4), np.uint8), np.array(labels))
    return Dataset("toy", {"train": split}, ("a", "b"), source="")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Split(IMAGES / 1, LABELS), "images must be uint8 .* got float64"),
        (lambda: Split(GREY, LABELS), r"\(N, H, W, C\), got .* \(2, 4, 4\)"),
        (lambda: Split(IMAGES, LABELS / 1), "labels must be int32 .* got float64"),
        (lambda: Split(IMAGES, LABELS[:, None]), r"int32 \(N,\), got int32 \(2, 1\)"),
        (lambda: Split(IMAGES[:1], LABELS), "equally many, got 1 images and 2 labels"),
        (lambda: make_split(GREY, LABELS / 1), "labels must be integers"),
        (lambda: make_split(GREY, np.array(["a", "b"])), "labels must be integers"),
        (lambda: make_split(GREY, np.array([0, 2**32])), "fit into int32"),
        (lambda: of_two_classes([0, 1, 2]), r"labels of toy/train must lie in 0\.\.1 .* 0\.\.2"),
        (lambda: of_two_classes([-1, 0]), r"got -1\.\.0"),
        (lambda: Dataset("toy", TWO_SHAPES, ("a", "b"), source=""), "same shape in all splits"),
        (lambda: Dataset("toy", {}, ("a",), source=""), "at least one split"),
    ],
)
def test_what_is_no_data_set_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


@pytest.mark.parametrize(
    "convert",
    [
        lambda images: images / 255,
        lambda images: images.astype(np.float32),
        lambda images: images.astype(np.uint16) * 257,
        lambda images: images.astype(np.int64),
        lambda images: images.transpose(0, 3, 1, 2),
    ],
)
def test_images_of_another_form_are_refused_with_the_code_that_converts_them(convert) -> None:
    """The code in the message gives back the images."""
    images, labels = files.arrays(4, (6, 5, 3))
    with pytest.raises(DataError, match=r"images must be uint8 \(N, H, W, C\)") as refused:
        make_split(convert(images), labels)
    code = str(refused.value).partition("convert them by ")[2].removesuffix(".")
    assert np.array_equal(eval(code, {"images": convert(images)}), images)


def test_split_must_hold_arrays() -> None:
    with pytest.raises(TypeError, match="labels must be a NumPy array, got list"):
        Split(IMAGES, [0, 0])


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
    rest, held_out = holdout(make_split(*files.arrays(9, (4, 4), classes=4)), count)
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
