import json

import loop_cost
import pytest

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def test_it_writes_what_checkpoints_and_streaming_cost(tmp_path, capsys):
    output = tmp_path / "loop_cost.json"
    flags = ["--model", "mnist_tutorial", "--rounds", "2", "--limit", "256"]
    assert loop_cost.main([*flags, "--output", str(output)]) == 0
    record = json.loads(output.read_text())
    times = {name: each["median"] for name, each in record["ms_an_epoch"].items()}
    assert set(times) == {"default", "streamed"}
    assert all(time > 0 for time in times.values())
    assert record["ms_an_epoch"]["default"]["n"] == 2
    assert 0 < record["share_of_checkpoints"]["median"] < 1
    assert record["share_of_checkpoints"]["n"] == 2 and record["streamed_throughput"] > 0
    assert {"device", "versions", "git_commit"} <= record.keys()
    printed = capsys.readouterr().out
    assert "checkpoints take" in printed and "times as fast as resident ones" in printed


def test_a_wrong_flag_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        loop_cost.main(["--round", "2"])
    assert "Unrecognized options: --round" in capsys.readouterr().err
