"""Decoded pictures in the cache: used while nothing has changed, and never afterwards."""

import os
from pathlib import Path

import pytest
from PIL import Image

from dilax.data import PictureOptions, _picture_cache, _picture_folders, load
from tests.data import files

SMALL = PictureOptions(size=8, channels=1)


@pytest.fixture
def decodes(monkeypatch):
    """The pictures that are decoded, all of them worth a cache."""
    read, decoded = _picture_folders.read_picture, []

    def count(path, options):
        decoded.append(path.name)
        return read(path, options)

    monkeypatch.setattr(_picture_folders, "read_picture", count)
    monkeypatch.setattr(_picture_cache, "WORTHWHILE", 0.0)
    return decoded


def get(folder: Path, options=SMALL):
    return load(folder, pictures=options, cache_dir=folder.parent / "cache")


@pytest.fixture
def folder(tmp_path):
    return files.write_pictures(tmp_path / "animals", {"cat": 5, "dog": 5})


def test_a_folder_is_decoded_once(folder, decodes):
    first, second = get(folder), get(folder)
    assert len(decodes) == 10
    files.assert_same(first, second)
    assert (first.name, first.source, first.notes) == (second.name, second.source, second.notes)


def replace_keeping_size_and_time(path: Path) -> None:
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-20] ^= 1  # in the last chunk, which is empty but for its checksum
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: Image.new("L", (9, 9), 7).save(folder / "cat/0.png"),
        lambda folder: Image.new("L", (9, 9), 7).save(folder / "cat/9.png"),
        lambda folder: (folder / "cat/0.png").unlink(),
        lambda folder: (folder / "cat/0.png").rename(folder / "dog/9.png"),
        lambda folder: replace_keeping_size_and_time(folder / "cat/0.png"),
    ],
    ids=["another picture", "added", "removed", "of another class", "of the same size and time"],
)
def test_any_change_is_decoded_anew(folder, decodes, change):
    get(folder)
    decodes.clear()
    change(folder)
    try:
        data = get(folder)
    except ValueError:  # a damaged one
        pass
    else:
        files.assert_same(data, get(folder))
    assert len(decodes) >= 9
    assert len(list((folder.parent / "cache").iterdir())) == 1


def test_other_settings_have_a_file_of_their_own(folder, decodes):
    for size in (8, 9, 8):
        assert get(folder, PictureOptions(size=size)).image_shape == (size, size, 3)
    assert len(decodes) == 20


def test_a_damaged_cache_is_replaced(folder, decodes):
    first = get(folder)
    (cached,) = (folder.parent / "cache").iterdir()
    cached.write_bytes(cached.read_bytes()[:-300])
    files.assert_same(get(folder), first)
    get(folder)
    assert len(decodes) == 20


def test_what_is_decoded_quickly_is_not_cached(folder):
    get(folder)
    assert not (folder.parent / "cache").exists()


def test_a_cache_that_cannot_be_written_is_no_obstacle(folder, decodes):
    (folder.parent / "cache").write_text("a file, not a folder")
    with pytest.warns(UserWarning, match="decoded pictures could not be cached in"):
        get(folder)
