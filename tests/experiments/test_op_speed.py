"""Single operations: contestants compute the same, and a race leaves a record that tables tell."""

import json
import math
import sys

import contestants
import jax
import jax.numpy as jnp
import numpy as np
import op_speed
import pytest
from operations import by_jax, cases, report, worker

from tests import reference

SMALL = (
    cases.Case(family="a", batch=2, size=(7,), features=3, kernel_size=(3,), padding="CAUSAL"),
    cases.Case(family="b", batch=2, size=(6, 5), features=4, kernel_size=(3, 2), stride=2),
    cases.Case(
        family="c",
        batch=1,
        size=(5, 6),
        features=4,
        kernel_size=(2, 3),
        groups=2,
        out_features=6,
        dilation=(2, 1),
    ),
)
AT_ONCE = ("--rounds", "1", "--warm-up", "0", "--seconds", "0")


def test_cases_have_names_of_their_own() -> None:
    names = [case.name for case in cases.CASES]
    assert len(set(names)) == len(names)
    assert set(cases.DEPTHWISE_2D) <= set(cases.CASES)


def test_shapes_of_the_cases_are_those_of_lax() -> None:
    for case in (*cases.CASES, *SMALL):
        operands = [jax.ShapeDtypeStruct(shape, case.dtype) for shape in case.shapes]
        assert jax.eval_shape(by_jax.by_lax(case), *operands).shape == case.output_shape, case.name


def answers(case: cases.Case) -> tuple[np.ndarray, ...]:
    """Output and both gradients by the tests' own convolution."""
    x, kernel, g = by_jax.operands(case)
    options = {
        "strides": case.strides,
        "padding": case.pads,
        "kernel_dilation": case.dilations,
        "feature_group_count": case.group_count,
    }
    return (
        reference.conv(x, kernel, **options),
        reference.input_gradient(g, kernel, input_size=case.size, **options),
        reference.kernel_gradient(x, g, kernel_size=case.kernel_size, **options),
    )


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_contestants_compute_the_case(case: cases.Case, compile_quickly) -> None:
    expected = answers(case)
    for name in ("dilax", "dilax:shift_and_add", "other", "lax"):
        calls, seconds = by_jax.prepare(name, case, by_jax.operands(case))
        assert set(calls) == set(seconds) == set(report.PASSES)
        for label, want in zip(report.PASSES, expected, strict=False):
            np.testing.assert_allclose(calls[label]()(), want, rtol=1e-4, atol=1e-4)
    errors = by_jax.errors(case, by_jax.operands(case))
    assert set(errors) == set(report.PASSES[:3])
    assert 0 < max(errors.values()) < 1e-6


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_pytorch_computes_the_case(case: cases.Case) -> None:
    pytest.importorskip("torch", reason="the torch extra is not installed")
    from operations import by_torch

    axes = range(2, 2 + len(case.size))
    calls = by_torch.prepare(case, by_jax.operands(case))
    output, to_x, to_kernel = answers(case)
    (found,) = calls["kernel gradient"]()()
    np.testing.assert_allclose(found.numpy().transpose(*axes, 1, 0), to_kernel, rtol=1e-4)
    (found,) = calls["input gradient"]()()
    np.testing.assert_allclose(found.numpy().transpose(0, *axes, 1), to_x, rtol=1e-4, atol=1e-5)
    found = calls["forward"]()().numpy().transpose(0, *axes, 1)
    np.testing.assert_allclose(found, output, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["max_pool", "avg_pool", "separable"])
def test_other_kinds_are_computed_alike(kind) -> None:
    case = cases.Case(family="p", batch=2, size=(6, 5), features=3, kernel_size=(3, 2), kind=kind)
    inputs = [jnp.asarray(array) for array in by_jax.operands(case)[:-1]]
    ours, theirs = (by_jax.contestant(name, case)(*inputs) for name in ("dilax", "lax"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("context", ["scan", "vmap", "remat", "then layer norm", "then mean"])
def test_contexts_change_where_not_what(context: str) -> None:
    case = cases.Case(family="d", batch=4, size=(5,), features=2, kernel_size=(2,), context=context)
    x, kernel, _ = (jnp.asarray(array) for array in by_jax.operands(case))
    plain = by_jax.by_lax(case)
    found = by_jax.in_context(case, by_jax.by_dilax(case, "dilax"))(x, kernel)
    if context == "vmap":
        wanted = jnp.concatenate([plain(x[i : i + 1], kernel * (1 + i)) for i in range(4)])
    elif context == "then layer norm":
        wanted = jax.nn.standardize(plain(x, kernel))
    elif context == "then mean":
        wanted = jnp.repeat(plain(x, kernel).mean(axis=1, keepdims=True), 5, axis=1)
    else:
        wanted = plain(x, kernel)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.long
def test_a_race_leaves_a_record(tmp_path, capsys, monkeypatch, long) -> None:
    if not long:
        monkeypatch.setitem(op_speed.LINE_UPS, "baselines", ("lax", "dilax"))
    output = tmp_path / "record.json"
    assert op_speed.main(["--families", "tiny", *AT_ONCE, "--output", str(output)]) == 0
    record = json.loads(output.read_text())
    (row,) = record["rows"]
    assert row["name"] in capsys.readouterr().out
    assert not row["failed"]
    assert max(row["errors"]["dilax"].values()) < 1e-6
    assert set(row["passes"]) == {*report.PASSES, "copy"}
    assert row["passes"]["forward"]["dilax"]["ratio"]["median"] == 1
    assert report.ratio(row, "forward", "lax") > 0
    assert record["config"]["rounds"] == 1 and record["program"] == "op_speed.py"
    assert row["name"] in output.with_suffix(".md").read_text()
    assert output.with_suffix(".png").stat().st_size > 0


def test_algorithms_race_too(tmp_path, long) -> None:
    assert set(op_speed.LINE_UPS["algorithms"]) >= {"lax", "dilax"}
    if long:
        output = tmp_path / "algorithms.json"
        flags = ["--contestants", "algorithms", "--families", "tiny", *AT_ONCE]
        assert op_speed.main([*flags, "--output", str(output)]) == 0
        (row,) = json.loads(output.read_text())["rows"]
        raced = set(op_speed.LINE_UPS["algorithms"]) - {"dilax:per_plane"}
        assert set(row["passes"]["kernel gradient"]) == raced
        assert row["name"] in output.with_suffix(".md").read_text()


# --- another checkout -----------------------------------------------------------------------------

OTHER = """
from jax import lax

def conv(x, kernel, *, strides, padding, kernel_dilation, feature_group_count):
    return lax.conv_general_dilated(
        x, kernel, strides, padding, rhs_dilation=kernel_dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=feature_group_count)
"""


@pytest.fixture
def other(tmp_path):
    """Another checkout of dilax, with only the oldest arguments."""
    (tmp_path / "other" / "dilax").mkdir(parents=True)
    (tmp_path / "other" / "dilax" / "__init__.py").write_text(OTHER)
    return tmp_path / "other"


@pytest.mark.long
def test_another_checkout_is_timed_beside_this_one(other, tmp_path, capsys) -> None:
    flags = ["--other", str(other), "--families", "tiny", *AT_ONCE]
    output = tmp_path / "before_after.json"
    assert op_speed.main([*flags, "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "| tiny and odd | 1 |" in printed and "| **all** | 1 |" in printed
    record = json.loads(output.read_text())
    (row,) = record["rows"]
    assert not row["failed"]
    assert set(row["passes"]["forward"]) == {"other", "dilax"}
    assert record["config"]["other"] == "other"
    assert not str(sys.modules["dilax"].__file__).startswith(str(tmp_path))


def test_the_other_checkout_must_hold_dilax_and_be_imported(other, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        op_speed.main(["--other", str(tmp_path)])
    assert "--other must be a folder that holds dilax" in capsys.readouterr().err

    class Elsewhere:
        def ask(self, **question):
            return {"module": str(tmp_path / "dilax.py")}

    with pytest.raises(ValueError, match="must be imported from"):
        op_speed.same_programs(0, {"other": Elsewhere()}, other)


@pytest.mark.long
def test_passes_with_the_same_program_are_not_timed(tmp_path, capsys) -> None:
    flags = ["--other", str(op_speed.benchmark.RESULTS.parents[1]), "--families", "tiny", *AT_ONCE]
    output = tmp_path / "before_after.json"
    assert op_speed.main([*flags, "--output", str(output)]) == 0
    assert "In 4 of 4 passes, both checkouts give XLA the same program." in capsys.readouterr().out
    (row,) = json.loads(output.read_text())["rows"]
    assert set(row["same_program"]) == {
        *("forward", "forward+backward", "input gradient", "kernel gradient")
    }
    assert set(row["passes"]) == {"copy"}


def test_two_checkouts_are_compared_family_by_family() -> None:
    rows = [row("a1", other=4), row("a2", other=1), row("b1", other=0.5)]
    rows = [each | {"same_program": {"forward": False}} for each in rows]
    same = row("c1", other=9) | {"same_program": {"forward": True}}
    assert report.before_and_after([*rows, same]).startswith("In 1 of 4 passes, ")
    lines = report.before_and_after([*rows, same]).splitlines()[2:]
    assert lines[2] == "| a | 2 | 2.00 |  |  | 2.00 | 1.00 | a2, forward |"
    assert lines[3] == "| b | 1 | 0.50 |  |  | 0.50 | 0.50 | b1, forward |"
    assert lines[4].startswith("| **all** | 3 | 1.26 |") and "b1, forward" in lines[4]
    assert lines[6].startswith("Below 0.93: 2 passes, of which 0 again")


@pytest.mark.long
def test_a_case_that_seems_slower_is_measured_again(other, monkeypatch, tmp_path, capsys) -> None:
    """In new processes; here by a time that is always the longer one."""
    monkeypatch.setattr(report, "SLOWER", 1e9)
    output = tmp_path / "before_after.json"
    flags = ["--other", str(other), "--families", "tiny", *AT_ONCE]
    assert op_speed.main([*flags, "--output", str(output)]) == 0
    (row,) = json.loads(output.read_text())["rows"]
    assert set(report.PASSES) <= set(row["again"]) and row["again"] != row["passes"]
    assert "of which 4 again in a second measurement" in capsys.readouterr().out


# --- the process of a contestant ------------------------------------------------------------------


@pytest.mark.parametrize("slow, calls", [(False, [4, 4]), (True, [2, 1])])
def test_first_calls_do_not_count(monkeypatch, slow: bool, calls: list[int]) -> None:
    """They warm up, unless the turn before has shown that a call is long."""
    clock, counted = [0.0], [0]

    def call() -> None:
        counted[0] += 1
        clock[0] += 1.5 if slow else 0.5 if counted[0] == 1 else 0.25

    monkeypatch.setattr(contestants.time, "perf_counter", lambda: clock[0])
    timed = worker.Worker("lax")
    timed.calls = {"forward": lambda: call}
    for wanted in calls:
        counted[0] = 0
        found = timed.time("forward", warm_up=0.5, seconds=0.75)["milliseconds"]
        assert counted[0] == wanted
        assert found == pytest.approx(1500 if slow else 250)


def test_what_goes_wrong_is_answered() -> None:
    contestant = contestants.Contestant(worker.Worker, "lax", {}, fresh_memory=True)
    question = {"do": "time", "label": "no such pass", "warm_up": 0, "seconds": 0}
    assert "KeyError" in contestant.ask(**question)["failed"]
    contestant.stop()
    assert contestant.ask(do="prepare", case=0) == {"failed": "the process ended"}


# --- tables ---------------------------------------------------------------------------------------


def row(name: str, **ratios: float) -> dict:
    passes = {key: {"ratio": {"median": value}} for key, value in ratios.items()}
    return {
        "name": name,
        "family": name[0],
        "case": {"kind": "conv"},
        "depthwise_2d": True,
        "passes": {report.BOTH: passes, "forward": dict(passes)},
    }


def test_the_fastest_algorithm_is_named() -> None:
    found = row("a", **{"lax": 6, "dilax:shift_and_add": 0.5, "dilax": 1})
    text = report.algorithms({"rows": [found]})
    assert "| a | shift_and_add 12.0 (2.00) |  |  | shift_and_add 12.0 (2.00) |" in text


def test_what_is_chosen_is_held_against_the_fastest(monkeypatch) -> None:
    case = cases.DEPTHWISE_2D[0]
    ratios = {"lax": 6, "dilax:shift_and_add": 1.5, "dilax:per_group": 0.5, "dilax": 1}
    record = {"device": "cpu (any)", "rows": [row(case.name, **ratios)]}
    for chosen, times_as_long in (("shift_and_add", 3), ("lax", 12), ("im2col", None)):
        monkeypatch.setattr(report, "chosen_algorithm", lambda *_, chosen=chosen: chosen)
        expected = [(times_as_long, f"{case.name}, forward")] if times_as_long else []
        assert report.choices(record) == expected
    assert report.by_itself(record) == [1.5]


def test_the_choice_is_that_of_dilax() -> None:
    names = {report.chosen_algorithm("cpu", label, SMALL[0]) for label in report.PASSES[:3]}
    assert names <= {"lax", "shift_and_add", "per_group", "per_plane", "im2col"}
    assert report.chosen_algorithm("no such platform", "forward", SMALL[0]) == "lax"


def test_tables_tell_losses_beside_wins() -> None:
    rows = [row("a1", lax=4, torch=0.5), row("a2", lax=9)]
    rows[1]["passes"][report.BOTH]["lax, YNN"] = {"ratio": {"median": 0.25}}
    assert "| a | 2 | 6.00 | 1.00 | 0.25 | 0.50 |" in report.families(rows)
    both = report.BOTH
    assert report.losses(rows, "torch") == ["a1, forward: torch 0.50", f"a1, {both}: torch 0.50"]
    assert report.losses(rows, "lax") == [f"a2, {both}: lax 0.25"]
    assert [len(report.against(rows, name)) for name in ("lax", "torch")] == [4, 2]
    assert math.isnan(report.geometric_mean([]))
