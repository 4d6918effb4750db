"""Folders of pictures: splits, classes, held-out parts, and what is in the way."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dilax.data import DataError, PictureOptions, load
from tests.data import files

SMALL = PictureOptions(size=8, channels=1)
BY_SPLIT = {"train/cat": 6, "train/dog": 4, "test/cat": 2, "test/dog": 3}
BY_CLASS = {"cat": 10, "dog": 20, "emu": 3, "fox": 1}


def write(tmp_path: Path, counts=BY_SPLIT, **options) -> Path:
    return files.write_pictures(tmp_path / "animals", counts, **options)


def test_splits_and_classes_are_folders(tmp_path):
    data = load(write(tmp_path, BY_SPLIT | {"validation/dog": 1}), pictures=SMALL)
    assert (data.name, data.class_names, data.image_shape) == ("animals", ("cat", "dog"), (8, 8, 1))
    counts = {name: np.bincount(split.labels).tolist() for name, split in data.splits.items()}
    assert counts == {"train": [6, 4], "test": [2, 3], "validation": [0, 1]}
    assert data.source == f"{tmp_path}/animals, {SMALL.description}"
    brightness = [data.splits["train"].images[data.splits["train"].labels == n] for n in (0, 1)]
    assert brightness[0].max() < 60 <= brightness[1].min()
    assert len(set(data.splits["train"].labels[:4])) == 2  # the first ones are of both classes


@pytest.mark.parametrize(
    ("train", "test"), [("Train", "TEST"), ("training", "testing"), ("train", "test")]
)
def test_splits_have_their_usual_names(tmp_path, train, test):
    counts = {name.replace("train", train).replace("test", test): n for name, n in BY_SPLIT.items()}
    assert set(load(write(tmp_path, counts), pictures=SMALL).splits) == {"train", "test"}


def test_classes_may_be_called_as_splits(tmp_path):
    data = load(write(tmp_path, {"train": 5, "tram": 5, "test": 5}), pictures=SMALL)
    assert data.class_names == ("test", "train", "tram")


def test_a_share_of_each_class_is_held_out_and_said_to_be(tmp_path):
    """Of two or more pictures at least one, and never the last."""
    folder = write(tmp_path, BY_CLASS)
    data = load(folder, pictures=SMALL)
    assert np.bincount(data.splits["train"].labels).tolist() == [8, 16, 2, 1]
    assert np.bincount(data.splits["test"].labels).tolist() == [2, 4, 1]
    assert data.source.endswith(", 20% of each class held out as test (seed 0)")
    assert data.notes == ("there are no test pictures of fox", f"data of {data.source}")
    again, other = (
        load(folder, pictures=PictureOptions(size=8, channels=1, seed=seed)) for seed in (0, 1)
    )
    assert again.fingerprint == data.fingerprint != other.fingerprint
    both = [np.concatenate([s.images for s in d.splits.values()]) for d in (data, other)]
    assert np.array_equal(*(np.sort(images.reshape(34, -1).sum(axis=1)) for images in both))


def test_pictures_of_one_size_need_no_other(tmp_path):
    folder = write(tmp_path, {"cat": 3, "dog": 3})
    with pytest.raises(
        DataError, match=r"of one size where none is asked for, got .* \(--size, or"
    ):
        load(folder)
    for path in folder.rglob("*.png"):
        Image.open(path).resize((7, 5)).save(path)
    assert load(folder).image_shape == (5, 7, 3)


def test_stray_files_are_left_out_and_named(tmp_path):
    folder = write(tmp_path)
    strays = [
        *(".DS_Store", "readme.txt", "train/Thumbs.db", "train/cat/._0.png"),
        *("train/cat/notes.txt", "train/dog/photo.heic", "__MACOSX/train/cat/0.png"),
    ]
    for name in strays:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("no picture")
    (folder / "train/.git").mkdir()
    data = load(folder, pictures=SMALL)
    assert len(data.splits["train"]) == 10
    left_out = data.notes[0]
    assert "left out of" in left_out and left_out.endswith(" and 2 more")
    assert ".DS_Store" in left_out and "no pictures in a folder of a class" in left_out


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"train/a": 2, "train/b": 0, "test/a": 1}, "must hold pictures .* got none in b; delete"),
        ({"a": 2, "b": 0, "c": 0}, "got none in b, c; delete it"),
        ({"train/a": 2, "train/b": 2, "test/c": 1}, "got none for c .it has a, b.; are the names"),
        ({"train/a": 2, "train/b": 2, "val/B": 1}, "got none for B .it has a, b.;"),
        ({"test/a": 2, "test/b": 2}, "must have a folder train beside test"),
        ({"a": 4}, "of at least two classes, got a; give the folder that holds train"),
        ({"train/a": 4, "test/a": 4}, "of at least two classes, got a"),
        ({"flowers/a": 4, "flowers/b": 4}, "got none in flowers"),
    ],
)
def test_classes_that_cannot_be_learned_are_refused(tmp_path, counts, message):
    with pytest.raises(DataError, match=message):
        load(write(tmp_path, counts), pictures=SMALL)


def test_a_class_that_is_not_tested_is_noted(tmp_path):
    shutil.rmtree(write(tmp_path) / "test/dog")
    assert (
        load(tmp_path / "animals", pictures=SMALL).notes[0] == "there are no test pictures of dog"
    )


def test_damaged_pictures_are_named(tmp_path):
    folder = write(tmp_path)
    for name in ("train/cat/3.png", "test/dog/1.png", "test/dog/0.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:90])
    with pytest.raises(DataError) as refused:
        load(folder, pictures=SMALL)
    first, others = str(refused.value).split(" The same is true of: ")
    assert first.startswith(f"{folder}/test/dog/0.png cannot be read as a picture (")
    assert others == f"{folder}/test/dog/1.png, {folder}/train/cat/3.png."


def test_too_many_pixels_are_refused_before_they_are_read(tmp_path):
    with pytest.raises(DataError, match=r"the 15 pictures, as arrays \(16384, 16384, 3\)"):
        load(write(tmp_path), pictures=PictureOptions(size=2**14))


def test_names_in_any_script_are_classes(tmp_path):
    data = load(write(tmp_path, {"猫": 2, "كلب": 2, "Äpfel und Birnen": 2}), pictures=SMALL)
    assert data.class_names == ("Äpfel und Birnen", "كلب", "猫")


def test_a_change_of_one_pixel_changes_the_fingerprint(tmp_path):
    folder = write(tmp_path)
    before = load(folder, pictures=SMALL).fingerprint
    path = folder / "train/cat/0.png"
    image = Image.open(path).copy()
    image.paste((255, 255, 255), (4, 4, 6, 6))
    image.save(path)
    assert load(folder, pictures=SMALL).fingerprint != before


def test_a_folder_whose_name_is_no_path_is_pointed_out(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"begins with '/', './' or '~', as './animals' does"):
        load("animals")
    with pytest.raises(TypeError, match="pictures must be a PictureOptions, got 28"):
        load("./animals", pictures=28)  # type: ignore[arg-type]
