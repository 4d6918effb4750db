"""The tables in README and documentation agree with the records."""

import json

import pytest
import tables


def test_pages_are_up_to_date(capsys):
    assert tables.main(["--check"]) == 0, capsys.readouterr().out


def test_every_record_is_complete():
    records = sorted(tables.RESULTS.glob("*.json"))
    assert {"mnist_dsdc", "step_speed", "wall_clock"} <= {path.stem for path in records}
    for path in records:
        found = json.loads(path.read_text())
        assert {"program", "device", "versions", "git_commit"} <= found.keys(), path.name
        assert not str(found["git_commit"]).endswith("-dirty"), path.name


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A repository of two pages, each with one block, and the records of this one."""
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    (tmp_path / "docs" / "guide").mkdir(parents=True)
    block = "before\n<!-- begin: costs -->\n99.99 %\n<!-- end: costs -->\nafter\n"
    pages = [tmp_path / "README.md", tmp_path / "docs" / "guide" / "page.md"]
    for page in pages:
        page.write_text(block)
    return pages


def test_a_number_typed_by_hand_is_noticed(site, capsys):
    assert tables.main(["--check"]) == 1
    printed = capsys.readouterr().out
    assert "README.md is not up to date" in printed and "docs/guide/page.md is not" in printed
    assert tables.main([]) == 0
    assert tables.main(["--check"]) == 0
    for page in site:
        text = page.read_text()
        assert text.startswith("before\n<!--") and text.endswith("<!-- end: costs -->\nafter\n")
        assert "99.99" not in text and "A checkpoint after each epoch" in text


def test_links_lead_from_the_page_to_the_file(site):
    tables.main([])
    readme, page = (each.read_text() for each in site)
    assert "](experiments/results/loop_cost.json)" in readme
    assert "](../../experiments/results/loop_cost.json)" in page
    kept = "[a](https://example.org/x) [b](#part)"
    assert tables.LINK.sub("changed", kept) == kept


def test_links_of_every_block_lead_to_files():
    for name in tables.SECTIONS:
        for link in tables.LINK.findall(tables.section(name)):
            assert (tables.ROOT / link).is_file(), (name, link)


def test_what_is_not_measured_is_said(site, monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    said = "Not measured yet: `python experiments/benchmarks/loop_cost.py` measures it.\n"
    assert tables.section("costs") == said


def test_an_unknown_block_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must be one of summary, .*, got 'magic'"):
        tables.fill("<!-- begin: magic -->\n<!-- end: magic -->", tmp_path)


def test_the_summary_has_at_most_seven_rows():
    lines = tables.summary().splitlines()
    assert 2 < len(lines) <= 2 + 7
    assert all("nan" not in line for line in lines)


@pytest.mark.parametrize("name", [path.stem for path in tables.RESULTS.glob("mnist_*")])
def test_means_are_those_of_the_seeds(name):
    found = tables.record(name)
    accuracies = [run["test_accuracy"] for run in found["each"]]
    assert found["test_accuracy"] == pytest.approx(sum(accuracies) / len(accuracies))
    assert found["over_seeds"]["test_accuracy"]["n"] == len(accuracies) == len(found["seeds"])
