"""Files of weights: what they hold comes back; what is damaged, or would run, is refused."""

import io
import json
import os
import pickle
import struct
import sys
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from dilax.data import DataError, read_state_dict

KERNEL = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
ARRAYS = {"kernel": KERNEL, "count": np.array(7, np.int64), "empty": np.zeros((0, 3), np.float32)}


def saved(zipped, tensors=None):
    """What PyTorch saves, in its zip format or in that of before 2020."""
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    tensors = tensors or {name: torch.tensor(array) for name, array in ARRAYS.items()}
    torch.save(tensors, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


FORMS = {
    "zip": lambda: saved(True),
    "legacy": lambda: saved(False),
    "safetensors": lambda: safetensors.numpy.save(ARRAYS),
}


def read(folder, content):
    path = folder / "weights"
    path.write_bytes(content)
    return read_state_dict(path)


@pytest.mark.parametrize("form", FORMS)
def test_arrays_come_back(form, tmp_path):
    found = read(tmp_path, FORMS[form]())
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


@pytest.mark.parametrize("form", FORMS)
def test_damaged_files_give_arrays_or_a_clear_error(form, tmp_path, long):
    """No truncated file is read; of a flipped bit there may be none but this to tell."""
    content, generator = FORMS[form](), np.random.default_rng(0)
    for end in range(0, len(content), 7 if long else 101):
        with pytest.raises(DataError):
            read(tmp_path, content[:end])
    for place in generator.integers(0, len(content), 3000 if long else 100):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(generator.integers(8))
        try:
            found = read(tmp_path, bytes(flipped))
        except DataError:
            continue
        assert all(isinstance(array, np.ndarray) for array in found.values())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_what_pytorch_saves_comes_back(zipped, tmp_path):
    torch = pytest.importorskip("torch")
    whole = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "transposed": whole.T[1:3],
        "shared": whole,
        "half": whole.to(torch.bfloat16),
        "parameter": torch.nn.Parameter(whole + 1),
        "flags": whole > 3,
        **torch.nn.BatchNorm2d(3).state_dict(),
    }
    found = read(tmp_path, saved(zipped, tensors))
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        wide = array.detach().float() if name == "half" else array.detach()
        np.testing.assert_array_equal(found[name], wide.numpy(), strict=True)


def test_bfloat16_of_safetensors_becomes_float32(tmp_path):
    content = safetensors.numpy.save({"half": np.array([1.5, -2.0], jnp.bfloat16)})
    found = read(tmp_path, content)["half"]
    np.testing.assert_array_equal(found, np.float32([1.5, -2]), strict=True)


class Evil:
    """A pickle of it runs a shell command that leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def with_pickle(content, pickled):
    """A zip file of PyTorch with another pickle in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("/data.pkl") else old.read(name))
    return file.getvalue()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("place", ["zip", "legacy", "alone"])
def test_a_program_in_a_pickle_is_not_run(protocol, place, tmp_path):
    pytest.importorskip("torch")
    evil = pickle.dumps({"kernel": Evil(tmp_path / "ran")}, protocol=protocol)
    start = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    machine = pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2)
    files = {
        "zip": with_pickle(saved(True), evil),
        "legacy": start + machine + evil + pickle.dumps([], 2),
        "alone": evil,
    }
    with pytest.raises(DataError, match=r"weights (is not|must be)") as caught:
        read(tmp_path, files[place])
    assert "weights_only" not in str(caught.value)  # the advice of PyTorch to run it all the same
    assert not (tmp_path / "ran").exists()
    pickle.loads(evil)  # which would have run it
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [[1.0], {"epoch": 1}, {"model": {}}])
def test_anything_but_tensors_by_name(content, tmp_path):
    with pytest.raises(DataError, match=r"tensors by name and nothing else.*save model.state_dict"):
        read(tmp_path, saved(True, content))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_tensor_larger_than_its_file_is_not_unpacked(zipped, tmp_path):
    torch = pytest.importorskip("torch")
    with pytest.raises(DataError, match="must be at most 4294967296 bytes"):
        read(tmp_path, saved(zipped, {"wide": torch.ones(1).expand(2**32)}))


def test_a_zip_that_unpacks_to_more_is_not_unpacked(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr("dilax.data._dataset.MAX_BYTES", 10**5)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights/data.pkl", bytes(10**6))
    with pytest.raises(DataError, match="must be at most 100000 bytes"):
        read(tmp_path, file.getvalue())


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x80\x02"])
def test_without_pytorch_the_way_to_convert_is_told(start, tmp_path, monkeypatch):
    (tmp_path / "vgg.pth").write_bytes(start + bytes(20))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(DataError, match="is not installed; install it, or convert") as caught:
        read_state_dict(tmp_path / "vgg.pth")
    lines = str(caught.value).splitlines()[1:]
    assert "torch.load" in lines[1] and '"vgg.safetensors"' in lines[1]
    compile("\n".join(lines), "the way to convert", "exec")


def test_the_way_to_convert_converts(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from dilax.data._state_dicts import _CONVERT

    (tmp_path / "w.pth").write_bytes(saved(True))
    monkeypatch.chdir(tmp_path)
    exec(_CONVERT.format(name="w.pth", stem="w"))
    np.testing.assert_array_equal(read_state_dict("w.safetensors")["kernel"], KERNEL, strict=True)


def with_header(header):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    return struct.pack("<Q", len(text)) + text + KERNEL.tobytes()


def entry(**changed):
    return {"kernel": {"dtype": "F32", "shape": [2, 3, 2], "data_offsets": [0, 48]} | changed}


@pytest.mark.parametrize(
    "header",
    [
        entry(data_offsets=[0, 52]),
        entry(data_offsets=[48, 0]),
        entry(shape=[2, 3]),
        entry(shape=[0, 2**40, 2**40], data_offsets=[0, 0]),
        entry(dtype="F128"),
        entry() | {"other": entry()["kernel"]},
        entry(shape=[11], data_offsets=[0, 44]),
        b"{",
        b'{"a":' * 10**5,
        b'{"\xff": 1}',
    ],
)
def test_a_header_that_lies(header, tmp_path):
    with pytest.raises(DataError, match=r"is not a readable \.safetensors file"):
        read(tmp_path, with_header(header))


@pytest.mark.parametrize("length", [0x80, 0x4B50], ids=["pickle", "zip"])
def test_a_header_whose_length_looks_like_another_format(length, tmp_path):
    text = json.dumps({"__metadata__": {"format": "pt"}} | entry()).encode().ljust(length)
    assert list(read(tmp_path, with_header(text))) == ["kernel"]


@pytest.mark.parametrize("content", [b"", b"weights", bytes(4096)])
def test_no_file_of_weights(content, tmp_path):
    with pytest.raises(DataError, match=r"weights must be a file of weights, \.safetensors or"):
        read(tmp_path, content)
    with pytest.raises(FileNotFoundError):
        read_state_dict(tmp_path / "none.pth")


def test_a_file_larger_than_memory_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("dilax.data._dataset.MAX_BYTES", 100)
    with pytest.raises(DataError, match=r"must be at most 100 bytes.* got 101"):
        read(tmp_path, bytes(101))
