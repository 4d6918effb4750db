"""Objects in pictures: found on any even background, and shown as MNIST shows its digits."""

import numpy as np
import pytest
from PIL import Image

from dilax import data
from dilax.data._objects import find_object_size, isolate_object

SIZE = {"size": (28, 28), "object_size": 20}


@pytest.fixture(scope="module")
def digits():
    return data.load("mnist").splits["train"].images[:200]


def on_paper(digit, *, ink, paper, scale=5, corner=(40, 70), shape=(320, 300)):
    """A digit, enlarged, as ink of one brightness on paper of another one."""
    side = 28 * scale
    large = np.asarray(
        Image.fromarray(digit[..., 0]).resize((side, side), Image.Resampling.BICUBIC)
    )
    covered = np.zeros(shape)
    covered[corner[0] : corner[0] + side, corner[1] : corner[1] + side] = large / 255
    return covered * ink + (1 - covered) * paper


def as_pixels(values):
    return np.clip(values, 0, 255).round().astype(np.uint8)[..., np.newaxis]


def likeness(one, other):
    """The largest correlation of two images, one of which may be moved by a pixel."""
    moved = [np.roll(one, (n // 3 - 1, n % 3 - 1), (0, 1)).reshape(-1) for n in range(9)]
    return max(np.corrcoef(each, other.reshape(-1))[0, 1] for each in moved)


def test_mnist_shows_objects_of_one_size(digits):
    assert find_object_size(digits) == 20


CHANGES = ("colour", "border", "sizes", "corner", "sides", "nothing", "none")


@pytest.mark.parametrize("change", CHANGES)
def test_other_images_do_not(digits, change):
    images = digits[:100].copy()
    if change == "colour":
        images = images.repeat(3, axis=-1)
    elif change == "border":
        images[:9, 0, 0] = 1
    elif change == "sizes":
        images[::2, ::2] = 0
        images[::2, :12] = 0
    elif change == "corner":
        images = np.roll(images, 3, axis=1)
    elif change == "sides":  # in the middle on average
        images[::2] = np.roll(images[::2], 4, axis=2)
        images[1::2] = np.roll(images[1::2], -4, axis=2)
    elif change == "nothing":
        images[:] = 0
    else:
        images = images[:0]
    assert find_object_size(images) is None


def test_a_digit_of_mnist_stays_as_it_is(digits):
    np.testing.assert_array_equal(isolate_object(digits[0], **SIZE), digits[0])


@pytest.mark.parametrize("ink, paper", [(20, 240), (250, 10), (90, 160), (200, 120)])
def test_ink_of_any_brightness_on_paper_of_any_other(digits, ink, paper):
    for digit in digits[:12]:
        found = isolate_object(as_pixels(on_paper(digit, ink=ink, paper=paper)), **SIZE)
        assert likeness(found, digit) > 0.9


def test_uneven_light_noise_and_specks(digits):
    random = np.random.default_rng(0)
    rows, columns = np.meshgrid(np.linspace(0, 1, 320), np.linspace(0, 1, 300), indexing="ij")
    light = 0.6 + 0.4 * rows - 0.2 * columns
    for digit in digits[:12]:
        values = on_paper(digit, ink=30, paper=230) * light + random.normal(0, 4, light.shape)
        values[5:8, 5:8] = 20
        assert likeness(isolate_object(as_pixels(values), **SIZE), digit) > 0.9


def test_the_place_and_the_size_do_not_matter(digits):
    for scale, corner in ((2, (3, 200)), (9, (60, 30))):
        values = on_paper(digits[1], ink=0, paper=255, scale=scale, corner=corner)
        assert likeness(isolate_object(as_pixels(values), **SIZE), digits[1]) > 0.9


def test_the_centre_of_mass_is_the_centre_if_there_is_room():
    paper = np.full((60, 60, 1), 255, np.uint8)
    paper[20:40, 20:24] = 0
    paper[36:40, 20:36] = 0  # the letter L
    found = isolate_object(paper, **SIZE)[..., 0].astype(float)
    rows, columns = (found.sum(axis=1 - axis) @ np.arange(28) / found.sum() for axis in (0, 1))
    assert abs(rows - 14) <= 0.5 and abs(columns - 14) <= 0.5
    assert max(np.ptp(np.flatnonzero(found.any(axis=axis))) + 1 for axis in (0, 1)) == 20


def test_an_object_that_does_not_fit_is_made_smaller():
    paper = np.full((200, 60, 1), 230, np.uint8)
    paper[20:180, 28:32] = 20
    found = isolate_object(paper, size=(20, 80), object_size=70)
    assert found.shape == (20, 80, 1) and np.flatnonzero(found.any(axis=1)).size == 20


@pytest.mark.parametrize("values", [np.full((50, 40), 200), np.full((1, 1), 7), np.full((3, 2), 0)])
def test_a_blank_page_is_refused(values):
    with pytest.raises(data.DataError, match="nothing differs from its background"):
        isolate_object(as_pixels(values), **SIZE)


def test_noise_alone_is_a_blank_page():
    values = np.random.default_rng(0).normal(200, 3, (100, 100))
    with pytest.raises(data.DataError, match="nothing differs"):
        isolate_object(as_pixels(values), **SIZE)
