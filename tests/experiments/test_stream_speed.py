"""The benchmark of streams leaves a record, and both ways compute the same."""

import json

import pytest
import stream_speed


@pytest.mark.long
def test_the_record_of_streams(tmp_path, capsys):
    output = tmp_path / "record.json"
    flags = "--features 4 --stacks 1 --levels 3 --samples 12 --steps 1 --rounds 1"
    assert stream_speed.main([*flags.split(), "--output", str(output)]) == 0
    heard, spoken = json.loads(output.read_text())["networks"]
    assert spoken["window"] == 1 + 2 * (1 + 2 + 4)
    for row in (heard, spoken):
        assert row["largest_difference"] < 1e-5
        assert set(row["milliseconds"]) == {"stream", "whole field"}
    assert "| 20 ms of sound |" in capsys.readouterr().out
