"""The waiting times: what is timed is really done, and all land in the record."""

import functools
import json

import wall_clock


def test_import_takes_a_moment():
    assert 0 < wall_clock.import_seconds() < 30


def test_the_field_of_a_deep_network_is_read_off(monkeypatch):
    monkeypatch.setattr(wall_clock, "FiftyBlocks", functools.partial(wall_clock.FiftyBlocks, 4))
    (seconds,) = wall_clock.field_seconds(1)
    assert 0 < seconds < 60


def test_record_holds_all_times(monkeypatch, tmp_path, capsys):
    times = iter([0.3, 0.1, 0.2])
    monkeypatch.setattr(wall_clock, "import_seconds", lambda: next(times))
    monkeypatch.setattr(wall_clock, "field_seconds", lambda times: [1.5] * times)
    monkeypatch.setattr(wall_clock, "run_seconds", lambda: 60.0)
    output = tmp_path / "record.json"
    assert wall_clock.main(["--imports", "3", "--output", str(output)]) == 0
    record = json.loads(output.read_text())
    expected = {"median": 0.2, "quartile_1": 0.15, "quartile_3": 0.25, "n": 3}
    assert record["import_seconds"] == expected
    assert record["field_seconds"]["n"] == 5 and record["default_run_seconds"]["n"] == 1
    assert {"device", "versions", "git_commit"} <= record.keys()
    assert "the default run takes 60 s" in capsys.readouterr().out
