import dataclasses
import json
import subprocess
from pathlib import Path

import flax
import jax
import numpy as np
import optax
import pytest

import dilax
from dilax.training import (
    RunRecord,
    check_run_folder,
    class_accuracies,
    combine_records,
    confusion_matrix,
    git_commit,
    make_run_folder,
    over_seeds,
    read_json,
    versions,
    write_json,
)
from dilax.training._records import write_text


def a_record(**fields):
    """A record whose other fields are their own names."""
    names = (field.name for field in dataclasses.fields(RunRecord))
    own = {name: name for name in names if name not in ("versions", "git_commit")}
    spent = {"train_seconds": 2.0, "compile_seconds": 1.0}
    tests = {"tests": {"accuracy": 0.5, "loss": 0.5}}
    classes = {"classes": class_accuracies(np.array([0, 1]), np.array([0, 0]), ["a", "b", "c"])}
    return RunRecord(**own | spent | tests | classes | fields)


def test_a_record_is_json_with_versions_and_commit():
    record = json.loads(json.dumps(a_record(seed=0).as_json()))
    assert record["versions"] == versions()
    assert record["test_accuracy"] == 0.5 and record["seed"] == 0
    assert "git_commit" in record


def test_versions_are_those_that_run():
    found = versions()
    for module in (jax, flax, optax, np, dilax):
        assert found[module.__name__] == module.__version__
    assert found["python"].startswith("3.")


def test_the_commit_is_that_of_the_source_and_says_when_files_differ(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e@x"]
        done = subprocess.run(
            ["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    assert git_commit(Path("/nonexistent/folder")) is None
    assert git_commit(tmp_path) is None
    git("init", "-q")
    source = tmp_path / "source.py"
    source.write_text("1")
    assert git_commit(tmp_path) is None  # git does not know the file yet
    git("add", ".")
    git("commit", "-q", "-m", "one")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "record.json").write_text("{}")
    git("add", ".")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD")  # a record is not source
    source.write_text("2")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD") + "-dirty"


def test_numbers_over_seeds():
    values = [0.99, 0.995, 0.9925]
    summary = over_seeds(values)
    assert summary["mean"] == pytest.approx(sum(values) / 3)
    variance = sum((value - summary["mean"]) ** 2 for value in values) / 2
    assert summary["std"] == pytest.approx(variance**0.5)
    assert (summary["min"], summary["max"], summary["n"]) == (0.99, 0.995, 3)
    assert over_seeds([0.5])["std"] == 0.0
    with pytest.raises(ValueError, match="at least one number"):
        over_seeds([])


def test_records_of_several_seeds_are_combined():
    records = [
        a_record(seed=seed, tests={"accuracy": accuracy}).as_json()
        for seed, accuracy in ((5, 0.25), (6, 0.75))
    ]
    combined = combine_records(records)
    assert (combined["test_accuracy"], combined["train_seconds"]) == (0.5, 4.0)
    assert combined["seeds"] == [5, 6] and combined["model"] == "model"
    assert combined["over_seeds"]["test_accuracy"]["max"] == 0.75
    assert [line["test_accuracy"] for line in combined["each"]] == [0.25, 0.75]


def test_the_accuracy_of_each_class_is_its_recall_and_averaged_over_seeds():
    labels, predictions = np.array([0, 0, 1, 1, 3]), np.array([0, 1, 1, 1, 0])
    found = class_accuracies(labels, predictions, ["a", "b", "c", "d"])
    assert [one["accuracy"] for one in found] == [0.5, 1.0, None, 0.0]
    assert [one["images"] for one in found] == [2, 2, 0, 1]
    other = class_accuracies(labels, labels, ["a", "b", "c", "d"])
    combined = combine_records(
        [a_record(seed=n, classes=c).as_json() for n, c in enumerate((found, other))]
    )
    assert [one["accuracy"] for one in combined["classes"]] == [0.75, 1.0, None, 0.5]


def test_rows_of_a_confusion_matrix_are_labels():
    random = np.random.default_rng(0)
    labels, predictions = random.integers(0, 4, 50), random.integers(0, 4, 50)
    expected = np.zeros((4, 4), int)
    for label, prediction in zip(labels, predictions, strict=True):
        expected[label, prediction] += 1
    matrix = confusion_matrix(labels, predictions, classes=5)
    np.testing.assert_array_equal(matrix[:4, :4], expected)
    assert matrix.shape == (5, 5) and matrix.sum() == 50


def test_a_new_run_may_begin_where_nothing_is(tmp_path):
    check_run_folder(tmp_path / "a" / "b", resume=False)
    assert not (tmp_path / "a").exists()
    make_run_folder(tmp_path / "a" / "b")
    check_run_folder(tmp_path / "a" / "b", resume=False)
    make_run_folder(tmp_path / "a" / "b")


def test_a_run_to_continue_must_be_there(tmp_path):
    with pytest.raises(ValueError, match=r"holds no run to resume \(config.json is missing\)"):
        check_run_folder(tmp_path, resume=True)
    write_json(tmp_path / "config.json", {})
    check_run_folder(tmp_path, resume=True)


def test_a_folder_that_cannot_be_that_of_a_new_run_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for folder, message in {
        tmp_path: "is not empty; add --resume to continue",
        tmp_path / "thesis.txt": "thesis.txt is a file; choose another --output",
        tmp_path / "thesis.txt" / "below": r"below: .*thesis.txt is a file; choose another",
    }.items():
        with pytest.raises(ValueError, match=message):
            check_run_folder(folder, resume=False)
    with pytest.raises(ValueError, match="below cannot be made: Not a directory"):
        make_run_folder(tmp_path / "thesis.txt" / "below")


def test_json_comes_back_and_anything_else_is_refused(tmp_path):
    write_json(tmp_path / "summary.json", {"test_accuracy": 0.5})
    assert read_json(tmp_path / "summary.json") == {"test_accuracy": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    (tmp_path / "config.json").write_text("{")
    for name in ("config.json", "absent.json"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as JSON"):
            read_json(tmp_path / name)


def test_a_file_that_cannot_be_written_is_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    write_text(path, "first")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    message = r"metrics.jsonl cannot be written: No space left on device; its previous content"
    with pytest.raises(OSError, match=message):
        write_text(path, "second")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["first"]
