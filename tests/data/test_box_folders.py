"""Folders of pictures with boxes, as COCO's JSON and VOC's XML: read, and refused by name."""

import copy
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from dilax.data import BoxedDataset, BoxedSplit, DataError, PictureOptions, load_boxes

PICTURES = PictureOptions(size=24, test_share=0.25)
BOX = [4, 6, 10, 20]
"""Top, left, bottom and right of the bright part of each picture."""


def write_picture(path, size=(36, 18)):
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[BOX[0] : BOX[2], BOX[1] : BOX[3]] = 220
    Image.fromarray(pixels).save(path)


def write_coco(folder, count=8, *, change=lambda content: None):
    names = [f"{number}.png" for number in range(count)]
    for name in names:
        write_picture(folder / "images" / name)
    top, left, bottom, right = BOX
    box = [left, top, right - left, bottom - top]
    content = {
        "images": [{"id": 10 + n, "file_name": name} for n, name in enumerate(names)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "ape"}],
        "annotations": [
            {"image_id": 10 + n, "category_id": (7, 3)[n % 2], "bbox": box}
            for n in range(count)
            if n != 2  # nothing is in the third
        ],
    }
    change(content)
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def write_voc(folder, count=8, *, box=None, name="cat", filename="{}.png"):
    top, left, bottom, right = BOX if box is None else box
    (folder / "Annotations").mkdir(parents=True)
    for number in range(count):
        write_picture(folder / "JPEGImages" / f"{number}.png")
        (folder / "Annotations" / f"{number}.xml").write_text(
            f"<annotation><filename>{filename.format(number)}</filename>"
            f"<object><name>{name if number else 'ape'}</name><bndbox>"
            f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
            f"<xmax>{right}</xmax><ymax>{bottom}</ymax>"
            "</bndbox></object></annotation>"
        )
    return folder


@pytest.mark.parametrize("write", [write_coco, write_voc])
def test_boxes_move_with_their_pictures(tmp_path, write):
    """Here both become smaller by two thirds, and black fills the square."""
    found = load_boxes(write(tmp_path), pictures=PICTURES)
    assert found.class_names == ("ape", "cat")
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 6, "test": 2}
    for split in found.splits.values():
        assert split.images.shape[1:] == (24, 24, 3)
        assert not split.images[:, 12:].any()
        for image, boxes, labels in zip(split.images, split.boxes, split.labels, strict=True):
            if (labels >= 0).any():
                np.testing.assert_allclose(boxes[0], np.asarray(BOX) * 2 / 3, atol=0.01)
            rows, columns = np.nonzero(image[..., 0] > 110)
            bright = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            np.testing.assert_allclose(bright, np.asarray(BOX) * 2 / 3, atol=1)


def test_pictures_without_objects_are_kept(tmp_path):
    found = load_boxes(write_coco(tmp_path), pictures=PICTURES)
    labels = np.concatenate([split.labels for split in found.splits.values()])
    assert labels.shape == (8, 1) and (labels == -1).sum() == 1


def test_splits_may_be_folders(tmp_path):
    write_coco(tmp_path / "train", 4)
    write_coco(tmp_path / "test", 2)
    found = load_boxes(tmp_path, pictures=PICTURES)
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 4, "test": 2}


def bbox(*values):
    return lambda content: content["annotations"][1].update(bbox=list(values))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (bbox(6, 4, 0, 6), "a height and a width above 0, got top 4, left 6, bottom 10, right 6"),
        (bbox(6, 4, -3, 6), "a height and a width above 0"),
        (bbox(6, 4, float("nan"), 6), "a height and a width above 0"),
        (bbox(30, 4, 14, 6), "must lie inside its picture, got top 4, left 30"),
        (bbox(6, 4, 14), "must be COCO's JSON .*, got ValueError"),
        (lambda c: c.pop("categories"), "must be COCO's JSON .*, got KeyError: 'categories'"),
        (lambda c: c["annotations"][0].update(category_id=9), "must be COCO's JSON"),
        (lambda c: c["annotations"][0].update(image_id=99), "must be COCO's JSON"),
        (lambda c: c["images"][3].update(file_name="gone.png"), "gone.png, which is missing"),
        (lambda c: c["annotations"].clear(), "must have boxes to learn from, got none"),
        (lambda c: (c["annotations"].clear(), c["images"].clear()), "must hold pictures"),
    ],
)
def test_boxes_that_cannot_be_are_named(tmp_path, change, message):
    write_coco(tmp_path, change=change)
    with pytest.raises(DataError, match=message) as error:
        load_boxes(tmp_path, pictures=PICTURES)
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"box": [4, 20, 10, 6]}, "a height and a width above 0"),
        ({"filename": "gone{}.png"}, "gone0.png, which is missing"),
        ({"name": ""}, "must be an XML file of Pascal VOC, got no name"),
    ],
)
def test_files_of_voc_that_cannot_be_are_named(tmp_path, options, message):
    write_voc(tmp_path, **options)
    with pytest.raises(DataError, match=message):
        load_boxes(tmp_path, pictures=PICTURES)


def test_damaged_files_are_named(tmp_path):
    folder = write_voc(tmp_path / "voc")
    (folder / "Annotations/3.xml").write_text("<annotation>")
    with pytest.raises(DataError, match=r"3.xml must be an XML file of Pascal VOC"):
        load_boxes(folder, pictures=PICTURES)
    folder = write_coco(tmp_path / "coco")
    (folder / "images/3.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"3.png cannot be read as a picture"):
        load_boxes(folder, pictures=PICTURES)
    (folder / "annotations.json").write_text("[1, 2")
    with pytest.raises(DataError, match=r"annotations.json must be COCO's JSON"):
        load_boxes(folder, pictures=PICTURES)
    with pytest.raises(DataError, match=r"must have annotations.json and images"):
        load_boxes(tmp_path, pictures=PICTURES)


def test_a_class_that_is_only_tested_is_named(tmp_path):
    write_voc(tmp_path / "train", 3, name="ape")
    write_voc(tmp_path / "test", 3)
    with pytest.raises(DataError, match="has the class 'cat', which no picture of train has"):
        load_boxes(tmp_path, pictures=PICTURES)


def test_arrays_are_checked_and_copied():
    images, boxes = np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 5, 4), np.float32)
    split = BoxedSplit(images, boxes, np.full((2, 5), -1, np.int32))
    made = BoxedDataset("toy", {"train": split}, ("a",), source="here")
    for copied in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert copied.fingerprint == made.fingerprint
    with pytest.raises(DataError, match="must be equally many"):
        BoxedSplit(images, boxes, np.full((2, 4), -1, np.int32))
    with pytest.raises(DataError, match="labels must be int32"):
        BoxedSplit(images, boxes, np.full((2, 5), -1))
