import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from dilax.training import pictures

NAMES = ["zero", "one", "two"]


def size_of(path):
    """Width and height of a PNG, from its header."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return tuple(int.from_bytes(content[at : at + 4], "big") for at in (16, 20))


def lines(validation):
    for epoch in (1, 2):
        line = {"epoch": epoch, "train_loss": 1 / epoch, "train_accuracy": 1 - 0.1 / epoch}
        if validation:
            line |= {"validation_loss": 2 / epoch, "validation_accuracy": 1 - 0.2 / epoch}
        yield line


@pytest.mark.parametrize("validation", [False, True])
def test_learning_curves(tmp_path, validation):
    pictures.learning_curves(tmp_path / "curves.png", list(lines(validation)))
    width, height = size_of(tmp_path / "curves.png")
    assert width > height > 100


@pytest.mark.parametrize("counts", [[[5, 1, 0], [0, 4, 2], [0, 0, 6]], np.eye(3, dtype=int) * 3])
def test_confusion(tmp_path, counts):
    pictures.confusion(tmp_path / "confusion.png", np.asarray(counts), NAMES)
    width, height = size_of(tmp_path / "confusion.png")
    assert width == height


@pytest.mark.parametrize(("channels", "wrong"), [(1, 12), (3, 1), (1, 0)])
def test_the_page_of_mistakes_grows_with_them(tmp_path, channels, wrong):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, channels), dtype=np.uint8)
    labels = np.arange(20) % 3
    logits = np.eye(3)[(labels + (np.arange(20) < wrong)) % 3]
    pictures.mistakes(tmp_path / "mistakes.png", images, labels, logits, NAMES)
    _, height = size_of(tmp_path / "mistakes.png")
    assert height == round(120 * (1.3 * max(1, -(-wrong // 10)) + 0.5))


@pytest.mark.parametrize("channels", [1, 3])
def test_feature_maps_have_a_row_for_each_layer(tmp_path, channels):
    image = np.zeros((8, 8, channels), np.uint8)
    draw = np.random.default_rng(0).normal
    layers = {"stem": draw(size=(8, 8, 3)), "dilated": draw(size=(4, 4, 20))}
    pictures.feature_maps(tmp_path / "maps.png", image, layers)
    assert size_of(tmp_path / "maps.png")[1] == round(120 * 1.15 * 3)


def test_names_of_points_close_together_do_not_cover_each_other():
    figure = Figure(figsize=(5, 5))
    axes = figure.subplots()
    spots = [(50 + x, 50 + y) for x, y in ((0, 0), (1, 1), (2, -1), (-2, 2), (0, 45), (49, 0))]
    axes.scatter(*zip(*spots, strict=True))
    axes.set(xlim=(0, 100), ylim=(0, 100))
    pictures._write_beside(axes, {spot: f"network {n}" for n, spot in enumerate(spots)})
    boxes = [text.get_window_extent() for text in axes.texts]
    assert [text.get_text() for text in axes.texts] == [f"network {n}" for n in range(6)]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert all(Bbox.intersection(box, axes.bbox).bounds == box.bounds for box in boxes)
