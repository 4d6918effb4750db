"""The benchmark of merged branches leaves a record, and merging changes rounding only."""

import json

import merge_speed
import pytest


@pytest.mark.long
def test_the_record_of_merging(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(merge_speed, "BLOCKS", {5: merge_speed.BLOCKS[5]})
    output = tmp_path / "record.json"
    flags = "--batch-size 2 --image-size 7 --features 3 --rounds 2 --steps 1"
    assert merge_speed.main([*flags.split(), "--output", str(output)]) == 0
    (row,) = json.loads(output.read_text())["blocks"]
    assert row["branches"] == 3 and row["kernel_sizes"] == [5, 3, 3]
    assert row["largest_relative_difference"] < 1e-5
    assert "| 5 x 5 | 3 |" in capsys.readouterr().out


def test_merged_kernels_are_no_larger_than_the_block():
    for size, beside in merge_speed.BLOCKS.items():
        assert all(dilation * (taps - 1) + 1 <= size for taps, dilation in beside)
