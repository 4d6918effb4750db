"""The program on gridding: its report holds the numbers of the schedules, and its pictures."""

import re

import gridding
import pytest


@pytest.mark.long
def test_report_and_pictures(tmp_path, capsys):
    flags = ["--schedules", "2,2,2", "1,2,3", "--images", "1", "--networks", "1"]
    assert gridding.main([*flags, "--output", str(tmp_path / "run")]) == 0
    report = (tmp_path / "run" / "report.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")]
            for line in report.splitlines() if line.startswith("|")]  # fmt: skip
    equal, hybrid = rows[2:]
    assert equal[:4] == ["2,2,2", "13", "7", f"{(7 / 13) ** 2:.1%}"]
    assert hybrid[:4] == ["1,2,3", "13", "13", "100.0%"]
    assert float(hybrid[4]) < float(equal[4])
    shown = re.findall(r"\]\((.*?)\)", report)
    assert sorted(shown) == ["coverage.png", "effective.png", "growing.png"]
    assert all((tmp_path / "run" / name).stat().st_size > 1000 for name in shown)
    assert "- 2,2,2 (13): 1,1,4; 1,2,3" in report
    assert "report.md" in capsys.readouterr().out


def test_what_cannot_be_proposed_is_said():
    said = gridding.proposals(3, {"2,4,8": (2, 4, 8)})
    assert "2,4,8 (29): none; 3 layers without holes see at most 27" in said


@pytest.mark.parametrize("schedule", ["2,x", "0,1", ""])
def test_a_wrong_schedule_is_one_line(schedule, tmp_path, capsys):
    status = gridding.main(["--schedules", schedule, "--output", str(tmp_path / "run")])
    assert status == 2
    assert "--schedules must be positive integers separated by commas" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
