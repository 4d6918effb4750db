"""The table of passes on a device, here on the CPU with one small case."""

import json
import sys

import pytest

from tests.processes import ROOT

sys.path.insert(0, str(ROOT / "experiments" / "benchmarks"))
import gpu

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def test_every_pass_has_a_row(tmp_path, monkeypatch, capsys):
    depthwise = gpu.Case("depthwise", (1, 8, 8, 4), (3, 3, 1, 4), {"kernel_dilation": 2})
    dense = gpu.Case("dense", (1, 8, 8, 4), (3, 3, 4, 4), {"kernel_dilation": 2})
    monkeypatch.setattr(gpu, "CASES", (depthwise, dense))
    output = tmp_path / "gpu.json"
    flags = ["--rounds", "1", "--turn-milliseconds", "0.1", "--copied", "1"]
    assert gpu.main([*flags, "--output", str(output)]) == 0
    record = json.loads(output.read_text())
    assert [(row["case"], row["pass"]) for row in record["rows"]] == [
        (name, which)
        for name in ("depthwise", "dense")
        for which in ("forward", "input gradient", "kernel gradient")
    ]
    first, last = record["rows"][0], record["rows"][-1]
    assert set(first["milliseconds"]) == {"lax", "dilax", "shifted slices"}
    assert set(last["milliseconds"]) == {"lax", "dilax"}
    assert first["bytes"] == 4 * (2 * 8 * 8 * 4 + 9 * 4)  # input, output and kernel
    assert record["bytes_per_second"] > 0
    table = capsys.readouterr().out
    assert table.count("\n| de") == 6 and "GB/s" in table
