"""Folders of pictures with masks: what is read, and what is refused by name."""

import copy
import pickle

import numpy as np
import pytest
from PIL import Image

from dilax.data import DataError, MaskedDataset, MaskedSplit, PictureOptions, load_masks

PICTURES = PictureOptions(size=8)


def write_pair(folder, name, *, size=(12, 8), value=1, mode="L", mask_size=None):
    """A picture that is bright where its mask has a value."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 2] = value
    bright = (mask > 0) * np.uint8(200)
    Image.fromarray(bright).convert("RGB").save(folder / "images" / f"{name}.png")
    picture = Image.fromarray(mask)
    if mode == "P":
        picture.putpalette([*range(256)] * 3)
    elif mode != "L":
        picture = picture.point(lambda v: v * 255).convert(mode)
    if mask_size is not None:
        picture = picture.resize(mask_size, Image.Resampling.NEAREST)
    picture.save(folder / "masks" / f"{name}.png")
    return folder


def write_set(folder, count=10, **options):
    for number in range(count):
        write_pair(folder, f"p{number}", **options)
    return folder


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_a_mask_is_cropped_as_its_picture(tmp_path, mode):
    found = load_masks(write_set(tmp_path, mode=mode), pictures=PICTURES)
    assert found.class_names == ("class 0", "class 1")
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 8, "test": 2}
    for split in found.splits.values():
        assert split.images.shape[1:] == (8, 8, 3)
        bright = split.images[..., 0] > 100
        assert (bright == (split.masks == 1)).mean() > 0.9  # but where the picture is blurred


def test_splits_may_be_folders_and_classes_have_names(tmp_path):
    for name, count in {"train": 4, "validation": 2, "test": 3}.items():
        write_set(tmp_path / name, count, value=2)
    (tmp_path / "classes.txt").write_text("sky\nsea\nland\n")
    found = load_masks(tmp_path, pictures=PICTURES)
    assert found.class_names == ("sky", "sea", "land")
    assert {name: len(split) for name, split in found.splits.items()} == {
        "train": 4,
        "validation": 2,
        "test": 3,
    }
    assert set(np.unique(found.splits["train"].masks)) == {0, 2}


def test_pixels_without_a_class_stay_so(tmp_path):
    write_set(tmp_path, 3)
    write_pair(tmp_path, "void", value=255)
    (tmp_path / "classes.txt").write_text("no\nyes\n")
    found = load_masks(tmp_path, pictures=PICTURES)
    assert any((split.masks == 255).any() for split in found.splits.values())


def test_a_turned_picture_has_the_mask_of_its_upright_form(tmp_path):
    write_set(tmp_path, 2, size=(8, 12))
    path = tmp_path / "images/p0.png"
    with Image.open(path) as image:
        turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by a quarter to be upright
    turned.save(path.with_suffix(".jpg"), exif=exif, quality=95)
    path.unlink()
    options = PictureOptions(size=8, test_share=0.5)
    found = load_masks(tmp_path, pictures=options)
    for split in found.splits.values():
        assert ((split.images[..., 0] > 100) == (split.masks == 1)).mean() > 0.85


def damage(path, content=b"damaged"):
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: damage(f / "images/p3.png"), "images/p3.png cannot be read as a picture"),
        (lambda f: damage(f / "masks/p3.png"), "masks/p3.png cannot be read as a mask"),
        (lambda f: (f / "masks/p3.png").unlink(), "got none for p3"),
        (lambda f: write_pair(f, "p3", mask_size=(6, 4)), r"as large as p3.png, 12x8, got 6x4"),
        (lambda f: write_pair(f, "p3", mode="RGB"), "masks/p3.png must be a PNG with palette"),
        (lambda f: write_pair(f, "p3", mode="I;16"), "masks/p3.png must be a PNG with palette"),
        (lambda f: write_pair(f, "p3", value=7), "p3.png must have values from 0 to 1, .* got 7"),
        (lambda f: (f / "classes.txt").write_text("one\n"), "2 to 255 different names"),
        (lambda f: (f / "classes.txt").write_text("a\na\n"), "2 to 255 different names"),
        (lambda f: damage(f / "classes.txt", b"\xff\xfe\x00"), "must be UTF-8 text"),
        (lambda f: [p.unlink() for p in (f / "images").iterdir()], "must hold pictures, got none"),
        (lambda f: (f / "images").rename(f / "photos"), "must have the folders images and masks"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, spoil, message):
    write_set(tmp_path, 5)
    (tmp_path / "classes.txt").write_text("no\nyes\n")
    spoil(tmp_path)
    with pytest.raises(DataError, match=message):
        load_masks(tmp_path, pictures=PICTURES)


def test_a_size_and_a_folder_are_needed(tmp_path):
    with pytest.raises(ValueError, match="pictures must have a size"):
        load_masks(write_set(tmp_path), pictures=PictureOptions())
    with pytest.raises(DataError, match="must be a folder with images and masks"):
        load_masks(tmp_path / "nowhere", pictures=PICTURES)
    with pytest.raises(TypeError, match="pictures must be"):
        load_masks(tmp_path, pictures=8)


def test_arrays_are_checked_and_copied():
    images, masks = np.zeros((2, 4, 4, 3), np.uint8), np.ones((2, 4, 4), np.uint8)
    made = MaskedDataset("toy", {"train": MaskedSplit(images, masks)}, ("a", "b"), source="here")
    for copied in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert copied.fingerprint == made.fingerprint
    with pytest.raises(DataError, match="must have values from 0 to 0, or 255, got 1"):
        MaskedDataset("toy", {"train": MaskedSplit(images, masks)}, ("a",), source="here")
    with pytest.raises(DataError, match="images must be uint8"):
        MaskedSplit(images, masks[:1])
