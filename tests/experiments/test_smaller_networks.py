"""The measurement of pruned, sparse and quantised networks, at a small size."""

import json

import pytest
import smaller_networks

pytestmark = [
    pytest.mark.usefixtures("module_compiles_quickly"),
    pytest.mark.filterwarnings("ignore"),  # of the quantiser
]


@pytest.mark.long
def test_every_form_leaves_a_row_and_runs_are_not_repeated(small_digits, tmp_path, capsys):
    for library in ("jax2onnx", "onnxruntime"):
        pytest.importorskip(library, reason="the extra interop is not installed")
    output, runs = tmp_path / "record.json", tmp_path / "runs"
    flags = ["--dataset", str(small_digits), "--runs", str(runs), "--output", str(output)]
    flags += ["--epochs", "1", "--tuning-epochs", "1", "--shares", "0.5", "--sparsities", "0.5"]
    flags += ["--seeds", "1", "--rounds", "1", "--flags=--batch-size 32"]
    assert smaller_networks.main(flags) == 0
    forms = json.loads(output.read_text())["forms"]
    assert list(forms) == [
        *("as trained", "50% of the channels", "50% zeros", "ONNX, float32", "ONNX, int8")
    ]
    whole, pruned, sparse, wide, narrow = forms.values()
    assert pruned["parameters"]["mean"] < 0.5 * whole["parameters"]["mean"]
    assert sparse["compressed_bytes"]["mean"] < whole["compressed_bytes"]["mean"]
    assert wide["accuracy"] == whole["accuracy"] and narrow["accuracy"]["n"] == 1
    assert "| 50% of the channels |" in capsys.readouterr().out
    before = (runs / "whole_0" / "summary.json").stat().st_mtime_ns
    assert smaller_networks.main(flags) == 0
    assert (runs / "whole_0" / "summary.json").stat().st_mtime_ns == before
