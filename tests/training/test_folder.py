import json

import pytest

from dilax.training.folder import (
    MetricsLog,
    check_folder,
    make_folder,
    read_json,
    write_json,
    write_text,
)


def test_a_new_run_may_begin_where_nothing_is(tmp_path):
    check_folder(tmp_path / "a" / "b", resume=False)
    assert not (tmp_path / "a").exists()
    make_folder(tmp_path / "a" / "b")
    check_folder(tmp_path / "a" / "b", resume=False)
    make_folder(tmp_path / "a" / "b")


def test_a_new_run_into_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="is not empty; add --resume to continue"):
        check_folder(tmp_path, resume=False)


def test_a_run_to_continue_must_be_there(tmp_path):
    with pytest.raises(ValueError, match=r"holds no run to resume \(config.json is missing\)"):
        check_folder(tmp_path, resume=True)
    write_json(tmp_path / "config.json", {})
    check_folder(tmp_path, resume=True)


def test_a_path_that_leads_through_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file is a file; choose another --output"):
        check_folder(tmp_path / "file", resume=False)
    with pytest.raises(ValueError, match=r"below: .*file is a file; choose another"):
        check_folder(tmp_path / "file" / "below", resume=False)
    with pytest.raises(ValueError, match="below cannot be made: Not a directory"):
        make_folder(tmp_path / "file" / "below")


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
    log.write(lines)
    assert [json.loads(text) for text in log.path.read_text().splitlines()] == lines
    log.write(lines[:2])
    assert log.read() == lines[:2]


def test_a_file_that_cannot_be_written_is_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    write_text(path, "first")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    message = r"metrics.jsonl cannot be written: No space left on device; what was there is as it"
    with pytest.raises(OSError, match=message):
        write_text(path, "second")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["first"]
