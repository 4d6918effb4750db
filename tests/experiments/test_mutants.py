"""Mutants: what is changed, and that a change is noticed."""

import ast
import dataclasses
from pathlib import Path

import benchmark
import mutants
import pytest


def changed(source: str) -> set[str]:
    tree = ast.parse(source)
    places = [place for place, node in enumerate(ast.walk(tree)) if mutants.changed_node(node)]
    return {mutants.mutated(source, place) for place in places}


@pytest.mark.parametrize(
    "source, expected",
    [
        ("a + b", {"a - b"}),
        ("a < b and c", {"a <= b and c", "a < b or c"}),
        ("f(3, 'text', 0.5, True)", {"f(4, 'text', 0.5, True)"}),
        ("'%d' % a", set()),
        ("a // b == c", {"a * b == c", "a // b != c"}),
    ],
)
def test_one_operator_or_integer_changes_at_a_time(source: str, expected: set[str]) -> None:
    assert changed(source) == expected


def test_every_change_of_the_core_is_a_program() -> None:
    found = mutants.candidates(mutants.Config())
    assert len(found) > 1000
    for mutant in found[::100]:
        text = mutants.mutated((mutants.ROOT / mutant.path).read_text(), mutant.place)
        compile(text, mutant.path, "exec")
        assert mutant.before != mutant.after


@pytest.mark.long
def test_a_mutant_is_judged_by_the_tests(tmp_path: Path) -> None:
    for name in ("dilax", "tests", "experiments"):
        (tmp_path / name).mkdir()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "dilax" / "__init__.py").touch()
    (tmp_path / "dilax" / "sum.py").write_text("def add(a, b):\n    return 9 and a + b\n")
    (tmp_path / "tests" / "test_sum.py").write_text(
        "from dilax.sum import add\n\ndef test_add():\n    assert add(1, 2) == 3\n"
    )
    config = mutants.Config(root=tmp_path, core=("dilax/sum.py",), tests=("tests",))
    output = tmp_path / "mutants.json"
    record = benchmark.write(
        "mutants", dataclasses.replace(config, output=output), mutants.measure(config)
    )
    outcomes = {(row["before"], row["outcome"]) for row in record["rows"]}
    assert outcomes == {
        ("a + b", "noticed"),
        ("9 and a + b", "noticed"),
        ("9", "not noticed"),
    }
    assert record["outcomes"] == {"noticed": 2, "not noticed": 1}
    assert mutants.section(record) == "2 of 3 mutants noticed\n"
