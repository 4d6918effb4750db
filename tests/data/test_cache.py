"""The cache: what goes in comes out, and what was altered does not."""

import json
import re
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from dilax.data import DataError, _cache, load
from tests.data import files


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    path = tmp_path / "toy.npz"
    _cache.write(files.dataset(), path)
    return path


def test_round_trip_by_name_and_by_path(cached: Path) -> None:
    for data in (load("toy", cache_dir=cached.parent), load(cached)):
        files.assert_same(data, files.dataset())
        assert (data.name, data.source) == ("toy", "drawn by a test")
        assert list(data.splits) == ["train", "test"]


def test_a_flipped_bit_is_noticed_or_changes_nothing(cached: Path, long: bool) -> None:
    """Dates in the zip's directory mean nothing; all else must be noticed, by name and by path."""
    content, generator = cached.read_bytes(), np.random.default_rng(0)
    directory = content.index(b"PK\x01\x02")  # where most fields are that have no checksum
    sample = [*generator.integers(0, directory, 100), *range(directory, len(content), 3)]
    places = range(len(content)) if long else sample
    noticed = 0
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(generator.integers(8))
        cached.write_bytes(flipped)
        for name in ("toy", cached):
            try:
                data = load(name, cache_dir=cached.parent)
            except DataError:
                noticed += 1
                continue
            files.assert_same(data, files.dataset())
            assert (data.name, data.source) == ("toy", "drawn by a test")
    assert noticed > len(places)


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_truncated(cached: Path, keep: int) -> None:
    cached.write_bytes(cached.read_bytes()[:keep])
    message = re.escape(f"{cached} is damaged and was not used: toy.npz is not a whole .npz file")
    with pytest.raises(DataError, match=message):
        load("toy", cache_dir=cached.parent)


OTHER_PIXELS = files.dataset().splits["train"].images ^ 1
OTHER_NAMES = {"format": 1, "name": "toy", "splits": ["train", "test"], "class_names": ["z"] * 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": OTHER_PIXELS}, r"SHA-256 must be \w{64}, got \w{64}\. Replace it by: "),
        ({"metadata": np.array(json.dumps(OTHER_NAMES | {"source": ""}))}, "its SHA-256 must be"),
        ({"metadata": np.array("{")}, "is damaged and was not used"),
        ({"metadata": np.array('{"format": 99}')}, "its format must be 1, got 99"),
        ({"train_images": np.zeros((7, 5, 4, 3))}, "images must be uint8"),
        ({"train_labels": np.full(7, 3)}, r"must lie in 0\.\.2"),
        ({"sha256": np.array(["no", "hash"])}, "its SHA-256 must be"),
    ],
)
def test_wrong_content(cached: Path, changes: dict[str, np.ndarray], message: str) -> None:
    with np.load(cached) as old:
        arrays = dict(old)
    np.savez(cached, **arrays | changes)
    with pytest.raises(DataError, match=message):
        _cache.read(cached)


def test_renamed_file(cached: Path) -> None:
    cached.rename(cached.with_name("mnist.npz"))
    with pytest.raises(DataError, match=r"it must hold 'mnist', got 'toy'.*fetch mnist"):
        load("mnist", cache_dir=cached.parent)


def test_known_names_must_hold_the_known_set(tmp_path: Path) -> None:
    _cache.write(files.dataset("cifar10"), tmp_path / "cifar10.npz")
    with pytest.raises(DataError, match=r"image shape must be .32, 32, 3., got .5, 4, 3."):
        load("cifar10", cache_dir=tmp_path)


@pytest.mark.parametrize("failure", [OSError("no space left"), KeyboardInterrupt()])
def test_failed_write_changes_nothing(
    cached: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(file, **arrays) -> None:
        file.write(b"PK half of it")
        raise failure

    monkeypatch.setattr(np, "savez", fail)
    for path in (cached, cached.with_name("new.npz")):
        with pytest.raises(type(failure)):
            _cache.write(files.dataset("other"), path)
    assert list(cached.parent.iterdir()) == [cached]
    files.assert_same(_cache.read(cached, name="toy"), files.dataset())


def test_default_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DILAX_CACHE", "~/a")
    assert _cache.default_dir() == Path.home() / "a"
    monkeypatch.delenv("DILAX_CACHE")
    assert _cache.default_dir() == platformdirs.user_cache_path("dilax", appauthor=False)
    assert "dilax" in _cache.default_dir().parts
