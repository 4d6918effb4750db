"""The waiting times: the import is really timed, and both land in the record."""

import json

import wall_clock


def test_import_takes_a_moment():
    assert 0 < wall_clock.import_seconds() < 30


def test_record_holds_both_times(monkeypatch, tmp_path):
    times = iter([0.3, 0.1, 0.2])
    monkeypatch.setattr(wall_clock, "import_seconds", lambda: next(times))
    monkeypatch.setattr(wall_clock, "default_run_seconds", lambda: 60.0)
    output = tmp_path / "record.json"
    assert wall_clock.main(["--imports", "3", "--output", str(output)]) == 0
    record = json.loads(output.read_text())
    assert record["import_seconds"] == {"median": 0.2, "min": 0.1, "max": 0.3, "n": 3}
    assert record["default_run_seconds"]["n"] == 1
    assert {"device", "versions", "git_commit"} <= record.keys()
