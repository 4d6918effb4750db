"""Canvases of digits: what masks and boxes say of the images."""

import numpy as np
import pytest

from dilax import data
from dilax.data import _canvases


@pytest.fixture(scope="module")
def digits():
    return data.load("mnist").splits["test"]


@pytest.fixture(scope="module")
def canvases(digits):
    return data.compose_canvases(digits, 60, size=72, least=0, most=4, seed=3)


def test_each_box_is_that_of_the_pixels_of_its_digit(canvases):
    """Digits of a class that is on a canvas once are told apart by the mask alone."""
    compared = 0
    for mask, boxes, labels in zip(canvases.masks, canvases.boxes, canvases.labels, strict=True):
        shown = labels[labels >= 0]
        assert set(np.unique(mask)) - {0} == set(shown + 1)
        for label, box in zip(shown, boxes, strict=False):
            if (shown == label).sum() == 1:
                rows, columns = np.nonzero(mask == label + 1)
                found = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
                assert box.tolist() == found
                compared += 1
    assert compared > 50


def test_places_without_a_digit_are_marked_and_last(canvases):
    for boxes, labels in zip(canvases.boxes, canvases.labels, strict=True):
        count = (labels >= 0).sum()
        assert (labels[:count] >= 0).all() and (labels[count:] == -1).all()
        assert (boxes[:count, 2:] > boxes[:count, :2]).all() and not boxes[count:].any()
    counts = (canvases.labels >= 0).sum(axis=1)
    assert set(counts.tolist()) == {0, 1, 2, 3, 4}


def test_digits_differ_in_size_and_lie_on_clutter(canvases):
    sides = (canvases.boxes[..., 2] - canvases.boxes[..., 0])[canvases.labels >= 0]
    assert sides.min() < 19 and sides.max() >= 28
    background = canvases.images[..., 0][canvases.masks == 0]
    assert (background > 128).mean() > 0.002  # fragments of digits
    assert canvases.images[..., 0][canvases.masks > 0].mean() > 100


def test_enough_of_each_digit_stays_visible(digits, monkeypatch):
    """Its ink, before others cover it, is remembered where it is placed."""
    inked = {}
    place = _canvases._find_place

    def spy(rng, owner, ink, shape):
        inked[id(owner)] = (owner, ink)
        return place(rng, owner, ink, shape)

    monkeypatch.setattr(_canvases, "_find_place", spy)
    data.compose_canvases(digits, 40, least=4, most=4)
    for owner, ink in inked.values():
        visible = np.bincount(owner[owner >= 0], minlength=len(ink))
        assert (visible >= _canvases.LEAST_VISIBLE * np.asarray(ink)).all()


def test_a_canvas_depends_on_its_place_and_the_seed_alone(digits, canvases):
    few = data.compose_canvases(digits, 5, size=72, least=0, most=4, seed=3)
    for part, whole in zip(few, canvases, strict=True):
        np.testing.assert_array_equal(part, whole[:5])
    other = data.compose_canvases(digits, 5, size=72, least=0, most=4, seed=4)
    assert (other.images != few.images).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": -1}, "count must be at least 0, got -1"),
        ({"size": 38}, "size must be at least 42, got 38"),
        ({"least": 3, "most": 2}, "least must be at most 2, got 3"),
        ({"most": 0}, "most must be at least 1, got 0"),
        ({"digits": None}, "digits must be"),
        ({"seed": 0.5}, "seed must be an integer"),
    ],
)
def test_impossible_canvases_are_refused(digits, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        data.compose_canvases(**{"digits": digits, "count": 1} | options)


def test_colours_are_refused():
    colours = data.make_split(np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1]))
    with pytest.raises(data.DataError, match=r"images \(N, H, W, 1\), got \(2, 8, 8, 3\)"):
        data.compose_canvases(colours, 1)
