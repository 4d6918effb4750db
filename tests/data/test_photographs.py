"""Pictures at their own sizes."""

import numpy as np
import pytest
from PIL import Image

from dilax.data import DataError, read_pictures


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for name, shape in {"a.png": (5, 7, 3), "b.png": (6, 4)}.items():
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_keep_their_sizes(folder, channels):
    found = read_pictures([folder / "b.png", folder], channels=channels)
    assert [path.name for path in found] == ["b.png", "a.png"]
    shapes = [(6, 4, channels), (5, 7, channels)]
    assert [picture.shape for picture in found.values()] == shapes
    if channels == 3:
        with Image.open(folder / "a.png") as image:
            np.testing.assert_array_equal(found[folder / "a.png"], np.asarray(image))


@pytest.mark.parametrize(
    ("paths", "options", "error", "message"),
    [
        (["nowhere.png"], {}, FileNotFoundError, "nowhere.png does not exist"),
        (["notes.txt"], {}, DataError, "notes.txt cannot be read as a picture"),
        ("a.png", {}, TypeError, "paths must be a sequence of paths, got 'a.png'"),
        ([3], {}, TypeError, "paths must be paths, got 3"),
        (["a.png"], {"channels": 2}, ValueError, "channels must be 1 or 3, got 2"),
    ],
)
def test_what_is_no_picture_is_refused(folder, monkeypatch, paths, options, error, message):
    monkeypatch.chdir(folder)
    with pytest.raises(error, match=message):
        read_pictures(paths, **options)
