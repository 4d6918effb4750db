"""TFDS without TensorFlow, end to end: downloads from a server of this process, no other."""

import functools
import http.server
import json
import re
import struct
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dilax.data import DataError, _tfds, load
from tests.data import files

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of TFDS and what it imports
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]
REFUSED = "http://127.0.0.1:9/"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder, and the address under which it is served."""
    folder = tmp_path_factory.mktemp("served")
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


@pytest.fixture
def builders(server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, type]:
    """The builders, with the served folder in place of the hosts of the sets."""
    from dilax.data import _tfds_builders

    for name in ("mnist", "fashion_mnist", "kmnist"):
        monkeypatch.setattr(_tfds_builders.BUILDERS[name], "URL", server[1] + name + "/")
    return _tfds_builders.BUILDERS


@pytest.fixture(scope="module")
def prepared(
    server: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """KMNIST of a few images, prepared by TFDS; its data folder and the arrays."""
    from dilax.data import _tfds_builders

    data_dir = tmp_path_factory.mktemp("tensorflow_datasets")
    written = files.write_idx(
        server[0] / "kmnist", counts={"train": 30, "test": 20}, compressed=True
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_tfds_builders.BUILDERS["kmnist"], "URL", server[1] + "kmnist/")
        _tfds.load("kmnist", data_dir=data_dir)
    return data_dir, written


def assert_holds(data, written) -> None:
    for split, (images, labels) in written.items():
        assert np.array_equal(data.splits[split].images, images[..., None])
        assert data.splits[split].labels.tolist() == labels.tolist()


def test_prepared_set_is_read_again_without_network(prepared) -> None:
    data_dir, written = prepared
    data = _tfds.load("kmnist", data_dir=data_dir)
    assert_holds(data, written)
    assert data.class_names[:2] == ("o", "ki")
    assert data.source == "TFDS kmnist/3.0.1"
    assert "tensorflow" not in sys.modules


def test_prepared_set_is_an_ordinary_one(prepared) -> None:
    """What TFDS itself reads back, by its own builder."""
    import tensorflow_datasets

    data_dir, written = prepared
    source = tensorflow_datasets.data_source("kmnist", split="test", data_dir=data_dir)
    assert [example["label"] for example in source] == written["test"][1].tolist()
    assert np.array_equal(source[3]["image"][..., 0], written["test"][0][3])


@pytest.mark.parametrize("level", ["kmnist", "kmnist/3.0.1", "."])
def test_prepared_set_by_its_path(prepared, level: str) -> None:
    data_dir, written = prepared
    data = load(data_dir / level)
    assert_holds(data, written)
    assert (data.name, data.source) == ("kmnist", str(data_dir / "kmnist/3.0.1"))


@pytest.fixture
def as_tfrecord(prepared, tmp_path: Path) -> Path:
    """The same set as TensorFlow would have prepared it: TFRecord in place of ArrayRecord."""
    import tensorflow_datasets

    source_dir = prepared[0] / "kmnist/3.0.1"
    builder = tensorflow_datasets.builder_from_directory(source_dir)
    target = tmp_path / "kmnist/3.0.1"
    target.mkdir(parents=True)
    for split in ("train", "test"):
        source = builder.as_data_source(split)
        records = source.data_source.__getitems__(range(len(source)))
        name = f"kmnist-{split}.tfrecord-00000-of-00001"
        (target / name).write_bytes(b"".join(map(framed, records)))
    for name in ("features.json", "label.labels.txt"):
        (target / name).write_bytes((source_dir / name).read_bytes())
    info = json.loads((source_dir / "dataset_info.json").read_text())
    info["fileFormat"] = "tfrecord"
    (target / "dataset_info.json").write_text(json.dumps(info))
    return target


def framed(record: bytes) -> bytes:
    return struct.pack("<QI", len(record), 0) + record + bytes(4)


def test_tfrecord(as_tfrecord: Path, prepared) -> None:
    assert_holds(load(as_tfrecord), prepared[1])
    assert_holds(_tfds.load("kmnist", data_dir=as_tfrecord.parents[1]), prepared[1])


def without_first_record(content: bytes) -> bytes:
    return content[struct.unpack("<Q", content[:8])[0] + 16 :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *[(lambda old, cut=cut: old[:-cut], "is cut short") for cut in (1, 30, 100)],
        (without_first_record, r"kmnist/3.0.1, train must have 30 examples, got 29"),
        (lambda old: old[:5] + b"\x7f" + old[6:], "cut short or no TFRecord file: a record of"),
    ],
)
def test_damaged_tfrecord(as_tfrecord: Path, change, message: str) -> None:
    path = as_tfrecord / "kmnist-train.tfrecord-00000-of-00001"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        load(as_tfrecord)


def test_damaged_array_record(as_tfrecord: Path, prepared) -> None:
    """A folder that announces ArrayRecord files and does not hold them."""
    info = prepared[0] / "kmnist/3.0.1/dataset_info.json"
    (as_tfrecord / "dataset_info.json").write_bytes(info.read_bytes())
    with pytest.raises(DataError, match=f"{re.escape(str(as_tfrecord))} could not be read"):
        load(as_tfrecord)


def test_several_sets_under_one_path(prepared, as_tfrecord: Path) -> None:
    (as_tfrecord.parent / "3.0.2").mkdir()
    (as_tfrecord.parent / "3.0.2" / "dataset_info.json").write_text("{}")
    with pytest.raises(DataError, match="give the folder of one of them"):
        load(as_tfrecord.parent)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar(
    server, builders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder, url = server
    archive = f"{name}.tar.gz"
    if name == "cifar10":
        files.write_tar(folder / archive, files.cifar10_binary())
    else:
        pixels, labels = files.arrays(5, (3072,))
        rows = np.column_stack([labels[::-1], labels, pixels]).astype(np.uint8).tobytes()
        files.write_tar(folder / archive, {"train.bin": rows, "test.bin": rows})
    info = builders[name]._cifar_info.fget(builders[name])._replace(url=url + archive)
    monkeypatch.setattr(builders[name], "_cifar_info", info)
    data = _tfds.load(name, data_dir=tmp_path)
    files.assert_same(data, load(folder / archive))

    import tensorflow_datasets

    example = next(iter(tensorflow_datasets.data_source(name, split="train", data_dir=tmp_path)))
    assert example["id"] == b"train_00000" or example["id"] == "train_00000"
    assert example.get("coarse_label", 4) == 4


def test_no_network_is_noticed_within_seconds(
    builders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builders["kmnist"], "URL", REFUSED)
    start = time.monotonic()
    with pytest.raises(DataError, match=r"127.0.0.1:9.* cannot be reached") as caught:
        load("kmnist", cache_dir=tmp_path / "cache", data_dir=tmp_path / "tfds")
    assert time.monotonic() - start < 5
    message = str(caught.value)
    for way in ("python -m dilax.data fetch kmnist", "load('/path/to/...')", "another machine"):
        assert way in message
    assert list(tmp_path.rglob("*.*")) == []


def test_silent_host_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that never comes back is not waited for."""
    monkeypatch.setattr(_tfds, "_PROBE_SECONDS", 0.05)
    monkeypatch.setattr(_tfds, "_probe", lambda url, failures: time.sleep(1))
    with pytest.raises(DataError, match=r"cannot be reached \(no answer\)"):
        _tfds._check_network("http://host/")


def test_missing_file_on_the_host(builders, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"fashion_mnist/train-images.* cannot be reached .HTTPErr"):
        _tfds.load("fashion_mnist", data_dir=tmp_path)


def test_damaged_download_leaves_nothing_prepared(builders, server, tmp_path: Path) -> None:
    folder = server[0] / "mnist"
    files.write_idx(folder, compressed=True)
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"TFDS could not prepare 'mnist'.*not a whole gzip file"):
        _tfds.load("mnist", data_dir=tmp_path)
    assert not list(tmp_path.glob("mnist/*"))


def test_load_prepares_caches_and_uses_the_cache(
    builders, server, prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    from dilax.data._names import KNOWN_SETS

    small = dataclasses.replace(KNOWN_SETS["kmnist"], counts={"train": 30, "test": 20})
    monkeypatch.setitem(KNOWN_SETS, "kmnist", small)
    first = load("kmnist", cache_dir=tmp_path, data_dir=prepared[0])
    monkeypatch.setattr(_tfds, "load", None)
    again = load("kmnist", cache_dir=tmp_path, data_dir=prepared[0])
    assert_holds(again, prepared[1])
    assert (again.source, again.fingerprint) == (first.source, first.fingerprint)
    assert [path.name for path in tmp_path.iterdir()] == ["kmnist.npz"]


def test_set_of_another_size_is_not_taken_for_the_known_one(prepared, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"examples in each split must be .*60000"):
        load("kmnist", cache_dir=tmp_path, data_dir=prepared[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["emnist/letters", "titanic"])
def test_other_sets_need_tensorflow(tmp_path: Path, name: str) -> None:
    """To prepare them, or as titanic to import their builder."""
    with pytest.raises(DataError, match=f"prepares '{name}' with TensorFlow only, which is not"):
        _tfds.load(name, data_dir=tmp_path)


@pytest.mark.parametrize("name", ["no_such_set", "no such set"])
def test_unknown_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(_tfds.UnknownNameError, match="TFDS has no data set"):
        _tfds.load(name, data_dir=tmp_path)


def test_first_address_of_any_builder() -> None:
    import tensorflow_datasets

    builder = tensorflow_datasets.builder("svhn_cropped")
    assert _tfds._first_address(builder) in builder.url_infos


def test_image_and_label_are_found() -> None:
    """Image and label are found by ``supervised_keys``, or else by their types."""
    from tensorflow_datasets import features

    label = features.ClassLabel(num_classes=2)
    kinds = {"a": features.Image(), "b": features.Image(), "c": label, "d": label}
    assert _tfds._feature_keys(fake_builder(kinds, ("b", "d"))) == ("b", "d")
    assert _tfds._feature_keys(fake_builder(kinds, None)) == ("a", "c")
    with pytest.raises(DataError, match=r"must have an image and a class label, .* \['a'\]"):
        _tfds._feature_keys(fake_builder({"a": features.Image()}, None))


def fake_builder(kinds: dict[str, object], supervised: tuple[str, str] | None) -> object:
    info = types.SimpleNamespace(features=kinds, supervised_keys=supervised, full_name="fake/1.0.0")
    return types.SimpleNamespace(info=info)
