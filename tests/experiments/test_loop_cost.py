import json

import loop_cost
import mnist_dsdc
import pytest

from dilax import models
from tests.experiments.test_call_overhead import Tiny
from tests.training.network import jitter

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


@pytest.mark.long
def test_it_writes_what_checkpoints_and_streaming_cost(tmp_path, capsys, monkeypatch, long):
    if not long:
        monkeypatch.setattr(models, "create", lambda name, *, rngs, **options: Tiny(rngs=rngs))
        monkeypatch.setattr(mnist_dsdc, "augmentation", lambda config, normalise, plan: jitter)
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
    assert "A checkpoint after each epoch takes" in printed and "times as fast as" in printed


def test_no_rounds_are_refused(capsys):
    with pytest.raises(SystemExit):
        loop_cost.main(["--rounds", "0"])
    assert "--rounds must be at least 1, got 0" in capsys.readouterr().err
