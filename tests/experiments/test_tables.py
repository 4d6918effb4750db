"""The README's tables are those that its records give."""

import json

import pytest
import tables


def test_readme_is_up_to_date():
    assert tables.main(["--check"]) == 0


def test_every_record_is_complete():
    records = sorted(tables.RESULTS.glob("*.json"))
    assert {"mnist_dsdc", "step_speed", "wall_clock"} <= {path.stem for path in records}
    for path in records:
        found = json.loads(path.read_text())
        assert {"program", "device", "versions", "git_commit"} <= found.keys(), path.name
        assert not str(found["git_commit"]).endswith("-dirty"), path.name


def test_a_number_typed_by_hand_is_noticed():
    text = (tables.ROOT / "README.md").read_text()
    begin = "<!-- begin: mnist -->\n"
    assert tables.fill(text.replace(begin, begin + "99.99 %\n")) == tables.fill(text)


@pytest.mark.parametrize("name", [path.stem for path in tables.RESULTS.glob("mnist_*")])
def test_means_are_those_of_the_seeds(name):
    found = tables.record(name)
    accuracies = [run["test_accuracy"] for run in found["each"]]
    assert found["test_accuracy"] == pytest.approx(sum(accuracies) / len(accuracies))
    assert found["over_seeds"]["test_accuracy"]["n"] == len(accuracies) == len(found["seeds"])
