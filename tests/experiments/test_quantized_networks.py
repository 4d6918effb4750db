"""The measurement of networks of 8-bit integers, at a small size."""

import json

import jax
import pytest
import quantized_networks

pytestmark = [
    pytest.mark.usefixtures("module_compiles_quickly"),
    pytest.mark.filterwarnings("ignore"),  # of the quantisers
]


@pytest.mark.long
def test_every_form_leaves_a_row(small_digits, tmp_path, capsys):
    for library in ("qwix", "jax2onnx", "onnxruntime"):
        pytest.importorskip(library, reason="the extra interop is not installed")
    output = tmp_path / "record.json"
    flags = ["--dataset", str(small_digits), "--runs", str(tmp_path), "--output", str(output)]
    flags += ["--epochs", "1", "--seeds", "1", "--held-out", "16", "--flags=--batch-size 16"]
    with jax.numpy_rank_promotion("allow"):  # in qwix
        assert quantized_networks.main(flags) == 0
    record = json.loads(output.read_text())
    assert list(record["forms"]) == [
        f"{training}{form}"
        for training in ("float32", "kernels of 8 bits")
        for form in ("", ", int8 by qwix", ", ONNX", ", int8 in ONNX")
    ]
    whole, narrow, *_ = record["forms"].values()
    # 8 bits instead of 32 for 7,120 entries of kernels, and scales of kernels and layers
    assert narrow["bytes"]["mean"] < 0.4 * whole["bytes"]["mean"]
    for found in record["forms"].values():
        assert found["difference"]["mean"] == found["accuracy"]["mean"] - whole["accuracy"]["mean"]
    assert "| float32, int8 by qwix |" in capsys.readouterr().out


def test_images_must_be_held_out(capsys):
    with pytest.raises(SystemExit):
        quantized_networks.main(["--held-out", "0"])
    assert "--held-out must be at least 1, got 0" in " ".join(capsys.readouterr().err.split())
