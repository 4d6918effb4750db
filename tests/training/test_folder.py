import json

import pytest

from dilax.training.folder import MetricsLog, open_folder, read_json, write_json


def test_a_new_run_makes_its_folder(tmp_path):
    open_folder(tmp_path / "a" / "b", resume=False)
    assert (tmp_path / "a" / "b").is_dir()
    open_folder(tmp_path / "a" / "b", resume=False)


def test_a_new_run_into_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="is not empty; add --resume to continue"):
        open_folder(tmp_path, resume=False)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_run_to_continue_must_be_there(tmp_path):
    with pytest.raises(ValueError, match=r"holds no run to resume \(config.json is missing\)"):
        open_folder(tmp_path / "nowhere", resume=True)
    assert not (tmp_path / "nowhere").exists()
    write_json(tmp_path / "config.json", {})
    open_folder(tmp_path, resume=True)


def test_a_path_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="output folder .*file cannot be used: "):
        open_folder(tmp_path / "file", resume=False)
    with pytest.raises(ValueError, match="cannot be used: Not a directory"):
        open_folder(tmp_path / "file" / "below", resume=False)


def test_json_comes_back_and_nothing_else_is_left(tmp_path):
    write_json(tmp_path / "summary.json", {"test_accuracy": 0.5})
    assert read_json(tmp_path / "summary.json") == {"test_accuracy": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_what_is_not_json_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json cannot be read as JSON"):
        read_json(tmp_path / "config.json")
    with pytest.raises(ValueError, match=r"absent.json cannot be read as JSON"):
        read_json(tmp_path / "absent.json")


def test_the_log_has_a_line_an_epoch_and_forgets_what_will_be_trained_again(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    assert log.read() == []
    lines = [{"epoch": n, "step": 10 * n} for n in (1, 2, 3)]
    for line in lines:
        log.append(line)
    assert [json.loads(text) for text in log.path.read_text().splitlines()] == lines
    log.keep_until(25)
    assert log.read() == lines[:2]
    log.keep_until(0)
    assert log.read() == []
