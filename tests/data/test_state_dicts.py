"""Files of weights: what they hold comes back; what lies, or would run, is refused."""

import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from dilax.data import DataError, read_state_dict
from tests.data import weights

KERNEL = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
ARRAYS = {"kernel": KERNEL, "count": np.array(7, np.int64), "empty": np.zeros((0, 3), np.float32)}


def described(**lies):
    """A pickled state dict of one tensor, of which some things may be said that are not so."""
    return weights.entries({"kernel": weights.tensor("0", KERNEL, **lies)})


def zipped():
    tensors = {name: weights.tensor(name, array) for name, array in ARRAYS.items()}
    return weights.torch_zip(
        weights.entries(tensors), {name: array.tobytes() for name, array in ARRAYS.items()}
    )


def legacy():
    tensors = {name: weights.tensor(name, array, legacy=True) for name, array in ARRAYS.items()}
    return weights.torch_legacy(weights.entries(tensors), ARRAYS)


FORMS = {"zip": zipped, "legacy": legacy, "safetensors": lambda: weights.safetensors(ARRAYS)}


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
        assert not found[name].flags.writeable


@pytest.mark.parametrize("form", FORMS)
def test_every_truncation_is_refused(form, tmp_path):
    content = FORMS[form]()
    for end in range(0, len(content), 7):
        with pytest.raises(DataError):
            read(tmp_path, content[:end])


@pytest.mark.parametrize("form", FORMS)
def test_flipped_bits_give_arrays_or_a_clear_error(form, tmp_path, long):
    content, generator = FORMS[form](), np.random.default_rng(0)
    for place in generator.integers(0, len(content), 5000 if long else 300):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(generator.integers(8))
        try:
            found = read(tmp_path, bytes(flipped))
        except DataError:
            continue
        assert all(isinstance(array, np.ndarray) for array in found.values())


@pytest.mark.parametrize("zip_format", [True, False], ids=["zip", "legacy"])
def test_what_pytorch_saves_comes_back(zip_format, tmp_path):
    torch = pytest.importorskip("torch")
    whole = torch.arange(24.0).reshape(4, 6)
    saved = {
        "transposed": whole.T[1:3],
        "shared": whole,
        "half": whole.to(torch.bfloat16),
        "parameter": torch.nn.Parameter(whole + 1),
        "flags": whole > 3,
        "scalar": torch.tensor(3),
    }
    torch.save(saved, tmp_path / "w.pth", _use_new_zipfile_serialization=zip_format)
    found = read_state_dict(tmp_path / "w.pth")
    for name, array in saved.items():
        wide = array.detach().float() if name == "half" else array.detach()
        np.testing.assert_array_equal(found[name], wide.numpy(), strict=True)


def test_what_python_2_wrote_comes_back(tmp_path):
    """A list of pairs in place of items, strings of bytes, and tensors without hooks."""
    described = weights.tensor("0", KERNEL, legacy=True)
    described = described.replace(b"_rebuild_tensor_v2", b"_rebuild_tensor")
    described = described.replace(b"\x89" + weights.ORDERED_DICT + b")R", b"")
    pair = b"](U\x06kernel" + described + b"e"
    content = weights.pickled(weights.ORDERED_DICT + b"](" + pair + b"e\x85R")
    found = read(tmp_path, weights.torch_legacy(content, {"0": KERNEL}))
    np.testing.assert_array_equal(found["kernel"], KERNEL, strict=True)


def test_a_module_with_its_versions_and_another_protocol(tmp_path):
    torch = pytest.importorskip("torch")
    state = torch.nn.BatchNorm2d(3).state_dict()
    for protocol in (2, 4):
        torch.save(state, tmp_path / "w.pth", pickle_protocol=protocol)
        assert list(read_state_dict(tmp_path / "w.pth")) == list(state)


class Evil:
    """Leaves a file behind if its pickle is run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("place", ["zip", "legacy", "alone"])
def test_a_program_in_a_pickle_is_not_run(protocol, place, tmp_path):
    ran = tmp_path / "ran"
    evil = pickle.dumps({"kernel": Evil(ran)}, protocol=protocol)
    files = {
        "zip": weights.torch_zip(evil, {"0": KERNEL.tobytes()}),
        "legacy": weights.torch_legacy(evil, {"0": KERNEL}),
        "alone": evil,
    }
    with pytest.raises(DataError, match="weights is"):
        read(tmp_path, files[place])
    assert not ran.exists()


def test_who_names_a_program_is_told_so(tmp_path):
    evil = weights.torch_zip(pickle.dumps(Evil(tmp_path / "ran"), protocol=2), {})
    with pytest.raises(DataError, match=r"it asks for \w+\.system, .* nothing was run"):
        read(tmp_path, evil)


@pytest.mark.parametrize(
    ("lies", "said"),
    [
        ({"count": 10**6}, "has 48 bytes where 4000000 are declared"),
        ({"count": -1}, "sizes, strides or offsets that are none"),
        ({"offset": 1}, "entries outside its storage"),
        ({"shape": (2, 3, 3)}, "entries outside its storage"),
        ({"shape": (2**30, 2**30, 2**30), "strides": (0, 0, 0)}, "entries outside its storage"),
        ({"strides": (6, 2, 2)}, "entries outside its storage"),
        ({"strides": (6, -2, 1)}, "sizes, strides or offsets that are none"),
        ({"strides": (6, 2)}, "a tensor of 3 axes has 2 strides"),
        ({"kind": "DoubleStorage"}, "has 48 bytes where 96 are declared"),
        ({"kind": "QInt8Storage"}, "it asks for torch.QInt8Storage"),
    ],
)
def test_a_tensor_that_lies_about_its_storage(lies, said, tmp_path):
    content = weights.torch_zip(described(**lies), {"0": KERNEL.tobytes()})
    with pytest.raises(DataError, match=said):
        read(tmp_path, content)


@pytest.mark.parametrize("key", ["../0", "/etc/passwd", "0/../../0", "1"])
def test_a_storage_that_is_no_member(key, tmp_path):
    pickled = weights.entries({"kernel": weights.tensor(key, KERNEL)})
    with pytest.raises(DataError, match=r"it has no member weights/data/"):
        read(tmp_path, weights.torch_zip(pickled, {"0": KERNEL.tobytes()}))


def test_compressed_members_are_refused(tmp_path):
    storages = {"0": bytes(10**6)}
    content = weights.torch_zip(described(), storages, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="or a compressed one"):
        read(tmp_path, content)


def test_two_tensors_that_disagree_on_a_storage(tmp_path):
    two = {"a": weights.tensor("0", KERNEL), "b": weights.tensor("0", KERNEL, count=24)}
    with pytest.raises(DataError, match="different things of one storage"):
        read(tmp_path, weights.torch_zip(weights.entries(two), {"0": KERNEL.tobytes()}))


@pytest.mark.parametrize("parts", [b"]", b"}" + b"(" + weights.text("epoch") + b"K\x01u", b"N"])
def test_anything_but_tensors_by_name(parts, tmp_path):
    with pytest.raises(DataError, match=r"save model.state_dict\(\)"):
        read(tmp_path, weights.torch_zip(weights.pickled(parts), {}))


@pytest.mark.parametrize(
    "parts",
    [
        b"0",  # takes from an empty stack
        b"h\x05",  # remembers what was never kept
        b"}q\x00(" + weights.text("a") + b"h\x00u",  # a dictionary in itself
        b"](" * 10**5,  # deep
        b"N" * (2**20 + 1),  # long
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",  # declares exabytes
    ],
)
def test_a_pickle_that_would_hurt_the_reader(parts, tmp_path):
    with pytest.raises(DataError):
        read(tmp_path, weights.torch_zip(weights.pickled(parts), {}))


def test_a_far_place_in_memory_takes_none(tmp_path):
    """Python's own reader would make room for every place before it."""
    far = weights.pickled(b"}r\xff\xff\xff\xff")
    assert read(tmp_path, weights.torch_zip(far, {})) == {}


def entry(**changed):
    return {"kernel": {"dtype": "F32", "shape": [2, 3, 2], "data_offsets": [0, 48]} | changed}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (entry(data_offsets=[0, 52]), "which cannot be"),
        (entry(data_offsets=[4, 52]), "which cannot be"),
        (entry(data_offsets=[48, 0]), "which cannot be"),
        (entry(data_offsets=[-4, 44]), "that are no sizes"),
        (entry(shape=[2, 3]), "which cannot be"),
        (entry(shape=[2, 3, 2.0]), "that are no sizes"),
        (entry(shape=[True, 12]), "that are no sizes"),
        (entry(shape=[0, 2**39, 2**39], data_offsets=[0, 0]), "longer ones"),
        (entry(shape=[1] * 40 + [12]), "more axes"),
        (entry(dtype="F128"), "has no dtype of"),
        (entry(dtype=[]), "has no dtype of"),
        ({"kernel": 3}, "has no dtype of"),
        (entry() | {"other": entry()["kernel"]}, "overlap, or bytes of no array, at 0 to 48"),
        (entry(shape=[11], data_offsets=[0, 44]), "bytes of no array, at 44 to 48"),
        ({}, "bytes of no array, at 0 to 48"),
    ],
)
def test_a_header_that_lies(header, said, tmp_path):
    with pytest.raises(DataError, match=said):
        read(tmp_path, weights.with_header(header, KERNEL.tobytes()))


@pytest.mark.parametrize("length", [2**63, 2**40, 2**24 + 1, 200])
def test_a_header_longer_than_the_file(length, tmp_path):
    with pytest.raises(DataError, match=f"its header declares {length} bytes"):
        read(tmp_path, struct.pack("<Q", length) + b"{" + bytes(100))


@pytest.mark.parametrize(
    "text", [b"{", b"{" * 10**5, b'{"a": 1, "a": 2}', b'{"\xff": 1}', b"{" + b'"a":[' * 10**5]
)
def test_a_header_that_is_no_object(text, tmp_path):
    with pytest.raises(DataError, match="no JSON object"):
        read(tmp_path, struct.pack("<Q", len(text)) + text)


def test_metadata_is_no_array(tmp_path):
    content = weights.with_header({"__metadata__": {"format": "pt"}} | entry(), KERNEL.tobytes())
    assert list(read(tmp_path, content)) == ["kernel"]


def test_a_header_whose_length_looks_like_another_format(tmp_path):
    for length in (0x80, 0x4B50):  # how pickles and zip files begin
        text = b"{}".ljust(length)
        assert read(tmp_path, struct.pack("<Q", length) + text) == {}


@pytest.mark.parametrize("content", [b"", b"weights", bytes(4096)])
def test_no_file_of_weights(content, tmp_path):
    with pytest.raises(DataError, match="is no file of weights that is known"):
        read(tmp_path, content)
    with pytest.raises(FileNotFoundError):
        read_state_dict(tmp_path / "none.pth")


def test_a_file_larger_than_memory_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("dilax.data._files.MAX_BYTES", 100)
    with pytest.raises(DataError, match="more than the 100 that are read into memory"):
        read(tmp_path, bytes(101))
