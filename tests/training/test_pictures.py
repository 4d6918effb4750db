import numpy as np
import pytest

from dilax.training import (
    draw_confusion_matrix,
    draw_feature_maps,
    draw_learning_curves,
    draw_mistakes,
)

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


def test_learning_curves(tmp_path):
    runs = {"one": list(lines(True)), "other": list(lines(False))}
    draw_learning_curves(tmp_path / "curves.png", runs)
    width, height = size_of(tmp_path / "curves.png")
    assert width > height > 100


@pytest.mark.parametrize("counts", [[[5, 1, 0], [0, 4, 2], [0, 0, 6]], np.eye(3, dtype=int) * 3])
def test_confusion(tmp_path, counts):
    draw_confusion_matrix(tmp_path / "confusion.png", np.asarray(counts), NAMES)
    width, height = size_of(tmp_path / "confusion.png")
    assert width == height


@pytest.mark.parametrize(("channels", "wrong"), [(1, 12), (3, 0)])
def test_the_page_of_mistakes_grows_with_them(tmp_path, channels, wrong):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, channels), dtype=np.uint8)
    labels = np.arange(20) % 3
    logits = np.eye(3)[(labels + (np.arange(20) < wrong)) % 3]
    draw_mistakes(tmp_path / "mistakes.png", images, labels, logits, NAMES)
    _, height = size_of(tmp_path / "mistakes.png")
    assert height == round(120 * (1.3 * max(1, -(-wrong // 10)) + 0.5))


def test_feature_maps_have_a_row_for_each_layer(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    draw = np.random.default_rng(0).normal
    layers = {"stem": draw(size=(8, 8, 3)), "dilated": draw(size=(4, 4, 20))}
    draw_feature_maps(tmp_path / "maps.png", image, layers)
    assert size_of(tmp_path / "maps.png")[1] == round(120 * 1.15 * 3)
