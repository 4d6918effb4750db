"""CIFAR's four published forms, as archives and as folders; and hostile archives."""

import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from dilax.data import DataError, load
from dilax.data._cifar import read_tables
from tests.data import files

FORMS = {"binary": files.cifar10_binary, "python": files.cifar10_python}


def expected(count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Training images and labels of the small CIFAR-10: planes of red, green, blue to pixels."""
    batches = [files.cifar_rows(count, seed) for seed in range(5)]
    pixels = np.concatenate([pixels for pixels, _ in batches])
    planes = [pixels[:, 1024 * channel : 1024 * (channel + 1)] for channel in range(3)]
    images = np.stack(planes, axis=-1).reshape(-1, 32, 32, 3)
    return images, np.concatenate([labels for _, labels in batches])


@pytest.mark.parametrize(
    ("form", "name"), [("binary", "a.tar.gz"), ("python", "a.tgz"), ("binary", "a.tar")]
)
def test_archive(tmp_path: Path, form: str, name: str) -> None:
    data = load(files.write_tar(tmp_path / name, FORMS[form]()))
    images, labels = expected()
    assert np.array_equal(data.splits["train"].images, images)
    assert data.splits["train"].labels.tolist() == labels.tolist()
    assert len(data.splits["test"]) == 3
    assert (data.name, data.class_names[2]) == ("cifar10", "bird")


@pytest.mark.parametrize("form", FORMS)
def test_folder(tmp_path: Path, form: str) -> None:
    for name, content in FORMS[form]().items():
        (tmp_path / name).write_bytes(content)
    assert np.array_equal(load(tmp_path).splits["train"].images, expected()[0])


def test_cifar100_has_two_columns_of_labels(tmp_path: Path) -> None:
    pixels, fine = files.arrays(4, (3072,))
    rows = np.column_stack([np.full(4, 19, np.uint8), fine.astype(np.uint8) + 96, pixels])
    binary = {"train.bin": rows.tobytes(), "test.bin": rows.tobytes()}
    fields = {"coarse_labels": [19] * 4, "fine_labels": [96, 97, 98, 99], "data": pixels}
    batch = files.python_2_pickle(fields)
    sets = [
        files.write_tar(tmp_path / "binary.tar.gz", binary),
        files.write_tar(tmp_path / "python.tar.gz", {"train": batch, "test": batch}),
    ]
    for path in sets:
        assert load(path).splits["train"].labels.tolist() == [96, 97, 98, 99]
        name, tables = read_tables(path)
        assert name == "cifar100"
        assert tables["test"][1].tolist() == [[19, 96], [19, 97], [19, 98], [19, 99]]
    assert load(sets[0]).fingerprint == load(sets[1]).fingerprint


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("test_batch.bin", lambda old: b"\x0a" + old[1:], r"cifar10/test must lie in 0\.\.9"),
        ("data_batch_2.bin", lambda old: old[:-1], "must be rows of 3073 bytes, got one of 9218"),
        ("data_batch_3.bin", None, r"\['data_batch_3.bin'\] are missing"),
    ],
)
def test_wrong_file_in_an_archive(tmp_path: Path, name: str, change, message: str) -> None:
    content = files.cifar10_binary()
    old = content.pop(name)
    if change is not None:
        content[name] = change(old)
    with pytest.raises(DataError, match=message):
        load(files.write_tar(tmp_path / "a.tar.gz", content))


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar"])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_truncated_archive(tmp_path: Path, name: str, part: float) -> None:
    path = files.write_tar(tmp_path / name, files.cifar10_binary(count=20))
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(DataError, match=r"is not a whole tar archive|are missing"):
        load(path)


def test_altered_archive(tmp_path: Path) -> None:
    path = files.write_tar(tmp_path / "a.tar.gz", files.cifar10_binary())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    for damaged in (content, b"<html>not found</html>"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.tar\.gz is not a whole tar archive"):
            load(path)


def test_nothing_is_extracted(tmp_path: Path) -> None:
    """Members that lead out of the folder, links and devices leave no trace."""
    folder = tmp_path / "inner"
    folder.mkdir()
    path = folder / "a.tar"
    files.write_tar(path, files.cifar10_binary(), prefix="../../escaped/")
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert np.array_equal(load(path).splits["train"].images, expected()[0])
    assert [file.name for file in tmp_path.rglob("*")] == ["inner", "a.tar"]


def test_declared_sizes_are_bounded(tmp_path: Path) -> None:
    member = tarfile.TarInfo("huge")
    member.size = 2**40
    (tmp_path / "a.tar").write_bytes(member.tobuf() + bytes(1024))
    with pytest.raises(DataError, match=r"at most 4294967296 bytes.* got 1099511627776"):
        load(tmp_path / "a.tar")


class Trap:
    """A pickle of it runs a shell command that leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def python_archive(tmp_path: Path, batch: bytes) -> Path:
    return files.write_tar(tmp_path / "a.tar.gz", {**files.cifar10_python(), "test_batch": batch})


@pytest.mark.parametrize("protocol", range(6))
def test_code_in_a_pickle_is_not_run(tmp_path: Path, protocol: int) -> None:
    batch = pickle.dumps({"data": Trap(tmp_path / "ran"), "labels": [1]}, protocol=protocol)
    with pytest.raises(DataError, match=r"asks for \w+\.system, .*; nothing was run"):
        load(python_archive(tmp_path, batch))
    assert not (tmp_path / "ran").exists()
    pickle.loads(batch)  # which would have run it
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pickle_of_python_3(tmp_path: Path, protocol: int) -> None:
    pixels, labels = files.cifar_rows(3, seed=5)
    batch = pickle.dumps({"data": pixels, "labels": labels.tolist()}, protocol=protocol)
    data = load(python_archive(tmp_path, batch))
    assert np.array_equal(data.splits["test"].images[:, 0, 0, 0], pixels[:, 0])


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"data": np.zeros((2, 3072)), "labels": [0, 1]}, "data must be uint8"),
        ({"data": np.zeros((2, 7), np.uint8), "labels": [0, 1]}, r"got 'u1' \(2, 7\)"),
        ({"data": np.zeros((2, 3072), np.uint8)}, "KeyError.*labels"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": ["0", "1"]}, "list of integers"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, "2 images and 1 labels"),
        ([1, 2, 3], "is not a readable CIFAR batch"),
    ],
)
def test_wrong_content_of_a_pickle(tmp_path: Path, batch: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(python_archive(tmp_path, pickle.dumps(batch, protocol=3)))


def test_size_of_a_pickled_array_is_checked(tmp_path: Path) -> None:
    batch = files.python_2_pickle({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]})
    assert batch.count(b"K\x02M\x00\x0c") == 1
    batch = batch.replace(b"K\x02M\x00\x0c", b"J\x00\x00\x00\x70M\x00\x0c")
    with pytest.raises(DataError, match=r"data of shape \(1879048192, 3072\)"):
        load(python_archive(tmp_path, batch))


@pytest.mark.parametrize(
    "hostile",
    [
        b"cnumpy\ndtype\n}b",  # sets attributes of a class
        b"cnumpy\ndtype\nN}\x8c\x0c__setstate__Ns\x86b",  # and the other way to do so
        b"cnumpy\ndtype\n(}tR",
        b"}r\xff\xff\xff\xff",  # keeps a value far away in memory
        b"](" * 10**4,
        b"0",  # takes from an empty stack
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",  # declares exabytes
    ],
)
def test_hostile_pickles_change_nothing(tmp_path: Path, hostile: bytes) -> None:
    with pytest.raises(DataError, match="is not a readable CIFAR batch"):
        load(python_archive(tmp_path, pickle.PROTO + b"\x02" + hostile + pickle.STOP))
    load(files.write_tar(tmp_path / "good.tar.gz", files.cifar10_python()))


def test_nested_references_are_not_written_out(tmp_path: Path) -> None:
    """A shape of 2**60 entries in 60 tuples would fill the memory if a message showed it."""
    pixels = np.zeros((2, 3072), np.uint8)
    batch = files.python_2_pickle({"data": pixels, "labels": [0, 1]})
    assert batch.count(b"K\x02M\x00\x0c\x86") == 1
    batch = batch.replace(b"K\x02M\x00\x0c\x86", b"(K\x02" + b"2\x86" * 60 + b"t")
    with pytest.raises(DataError, match=r"got 'u1' \(\("):
        load(python_archive(tmp_path, batch))


@pytest.mark.parametrize("keep", [0, 40, -1])
def test_truncated_pickle(tmp_path: Path, keep: int) -> None:
    with pytest.raises(DataError, match="is not a readable CIFAR batch"):
        load(python_archive(tmp_path, files.cifar10_python()["test_batch"][:keep]))
