"""The table and the events for TensorBoard: each epoch once, whatever happened to the run."""

import csv
import json
import sys

import pytest

from dilax.training import TensorBoardLog
from dilax.training._logs import write_metrics
from tests.training.event_files import events


def lines(*accuracies, validated=True):
    """Metrics of an epoch for each accuracy."""
    history = []
    for epoch, accuracy in enumerate(accuracies, start=1):
        line = {"epoch": epoch, "step": 10 * epoch, "train_loss": 0.5, "train_accuracy": accuracy}
        more = {"validation_accuracy": accuracy / 2} if validated else {}
        history.append({**line, **more, "seconds": 1.5})
    return history


def test_the_table_has_a_row_for_each_epoch(tmp_path):
    history = lines(0.25, 0.5)
    write_metrics(tmp_path, history)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == history
    text = (tmp_path / "metrics.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == history
    write_metrics(tmp_path, [])
    assert (tmp_path / "metrics.csv").read_text() == ""


def test_columns_of_any_epoch_are_in_the_table(tmp_path):
    write_metrics(tmp_path, [*lines(0.25, validated=False), *lines(0.5)])
    header, first, _ = (tmp_path / "metrics.csv").read_text().splitlines()
    assert header == "epoch,step,train_loss,train_accuracy,seconds,validation_accuracy"
    assert first.endswith("1.5,")


def test_events_are_written_epoch_by_epoch(tmp_path):
    history = []
    with TensorBoardLog(tmp_path) as log:
        log(history)
        for line in lines(0.25, 0.5):
            history.append(line)
            log(history)
    found = events(tmp_path)
    assert found["accuracy/train"] == [(10, 0.25), (20, 0.5)]
    assert found["accuracy/validation"] == [(10, 0.125), (20, 0.25)]
    assert set(found) == {
        *("accuracy/train", "accuracy/validation", "loss/train", "run/epoch", "run/seconds")
    }


@pytest.mark.parametrize("after", [(0.25, 0.5, 0.75), (0.25, 0.875), (0.25,), (0.125,), ()])
def test_a_resumed_run_or_one_that_went_back_has_no_epoch_twice(tmp_path, after):
    """The second log is of the resumed run; its epochs may be fewer or others."""
    for resumed in (False, True):
        with TensorBoardLog(tmp_path) as log:
            log(lines(0.25, 0.5))
            if not resumed:
                log(lines(*after))
    with TensorBoardLog(tmp_path) as log:
        log(lines(*after))
    expected = [(10 * n, accuracy) for n, accuracy in enumerate(after, start=1)]
    assert events(tmp_path).get("accuracy/train", []) == expected


def test_without_the_library_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r'needs tensorboardX: pip install "dilax-jax\[tensorb'):
        TensorBoardLog(tmp_path)
