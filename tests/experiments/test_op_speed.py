"""Single operations: the yardstick is right, and a race leaves a record that tables tell truly."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import op_speed
import pytest
from operations import arrays, by_jax, cases, report, worker

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
AT_ONCE = ("--warm-up", "0", "--seconds", "0")
every_small_case = pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)


def test_cases_have_names_of_their_own() -> None:
    names = [case.name for case in cases.CASES]
    assert len(set(names)) == len(names)
    assert set(cases.DEPTHWISE_2D) <= set(cases.CASES)


@every_small_case
def test_the_yardstick_is_the_convolution(case: cases.Case) -> None:
    x, kernel, g = arrays.operands(case)
    window = case.geometry
    options = {
        "strides": window.strides,
        "padding": window.padding,
        "kernel_dilation": window.kernel_dilation,
        "feature_group_count": window.feature_group_count,
    }
    output, to_x, to_kernel = arrays.convolution(case, x, kernel, g)
    np.testing.assert_allclose(output, reference.conv(x, kernel, **options))
    wanted = reference.input_gradient(g, kernel, input_size=case.size, **options)
    np.testing.assert_allclose(to_x, wanted)
    wanted = reference.kernel_gradient(x, g, kernel_size=case.kernel_size, **options)
    np.testing.assert_allclose(to_kernel, wanted, atol=1e-12)


@every_small_case
@pytest.mark.parametrize("name", ["dilax", "dilax:shift_and_add", "dilax:per_group", "lax", "nnx"])
def test_contestants_compute_the_case(case: cases.Case, name: str) -> None:
    operands = arrays.operands(case)
    calls, seconds, answers = by_jax.prepare(name, case, operands)
    assert set(calls) == set(seconds) == set(report.PASSES)
    expected = arrays.convolution(case, *operands)
    for found, want in zip(answers(), expected, strict=True):
        assert arrays.relative_error(np.asarray(found), want) < 1e-5
    for label, want in zip(report.PASSES[:3], expected, strict=True):
        assert arrays.relative_error(np.asarray(calls[label]()), want) < 1e-5


@pytest.mark.parametrize("kind", ["max_pool", "avg_pool"])
def test_contestants_pool_alike(kind) -> None:
    case = cases.Case(family="p", batch=2, size=(6, 5), features=3, kernel_size=(3, 2), kind=kind)
    operands = arrays.operands(case)
    ours, theirs = (by_jax.prepare(name, case, operands)[2] for name in ("dilax", "lax"))
    for found, expected in zip(ours(), theirs(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


CONTEXTS = ["scan", "vmap", "remat", "then layer norm", "then mean"]


@pytest.mark.parametrize("context", CONTEXTS)
def test_contexts_change_where_not_what(context: str) -> None:
    case = cases.Case(family="d", batch=4, size=(5,), features=2, kernel_size=(2,), context=context)
    x, kernel, _ = (jnp.asarray(array) for array in arrays.operands(case))
    plain = by_jax.by_lax(case, "lax")
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


def test_a_race_leaves_a_record(tmp_path, capsys) -> None:
    output = tmp_path / "record.json"
    arguments = ["--families", "tiny", "--rounds", "2", *AT_ONCE, "--output", str(output)]
    assert op_speed.main(arguments) == 0
    (row,) = json.loads(output.read_text())["rows"]
    assert row["name"] in capsys.readouterr().out
    assert not row["failed"]
    assert max(row["errors"]["dilax"].values()) < 1e-6
    assert set(row["passes"]) == {*report.PASSES, "copy"}
    assert row["passes"]["forward"]["dilax"]["ratio"]["median"] == 1
    assert report.lax_at_its_best(row, "forward") > 0
    assert row["name"] in output.with_suffix(".md").read_text()
    assert output.with_suffix(".png").stat().st_size > 0


def test_algorithms_race_too(tmp_path) -> None:
    output = tmp_path / "algorithms.json"
    arguments = ["--contestants", "algorithms", "--families", "tiny", "--rounds", "1"]
    assert op_speed.main([*arguments, *AT_ONCE, "--output", str(output)]) == 0
    (row,) = json.loads(output.read_text())["rows"]
    assert set(row["passes"]["kernel gradient"]) == set(op_speed.ALGORITHMS)
    assert row["name"] in output.with_suffix(".md").read_text()


def test_the_fastest_algorithm_is_named() -> None:
    found = row("a", **{"lax": 6, "dilax:shift_and_add": 0.5, "dilax": 1}) | {
        "case": {"kind": "conv"}
    }
    assert report.algorithms({"rows": [found]}) == [
        ("a", "shift_and_add 12.0 (2.00)", "", "", "shift_and_add 12.0 (2.00)")
    ]


def test_what_is_chosen_is_held_against_the_fastest() -> None:
    case = next(case for case in cases.CASES if case.depthwise)
    found = row(
        case.name, **{"lax": 6, "dilax:shift_and_add": 1.5, "dilax:per_group": 0.5, "dilax": 1}
    )
    record = {"device": "cpu (any)", "rows": [found | {"case": {"kind": "conv"}}]}
    assert report.choices(record) == [(3, f"{case.name}, forward")]
    assert report.choices(record | {"device": "gpu"}) == [(12, f"{case.name}, forward")]
    assert report.by_itself(record) == [1.5]


@pytest.mark.parametrize("slow, calls", [(False, [4, 4]), (True, [2, 1])])
def test_first_calls_do_not_count(monkeypatch, slow: bool, calls: list[int]) -> None:
    """They warm up, unless the turn before has shown that a call is long."""
    clock, counted = [0.0], [0]

    def call() -> None:
        counted[0] += 1
        clock[0] += 1.5 if slow else 0.5 if counted[0] == 1 else 0.25

    monkeypatch.setattr(worker.time, "perf_counter", lambda: clock[0])
    timed = worker.Worker("lax")
    timed.calls = {"forward": call}
    for wanted in calls:
        counted[0] = 0
        found = timed.time("forward", warm_up=0.5, seconds=0.75)["milliseconds"]
        assert counted[0] == wanted
        assert found == pytest.approx(1500 if slow else 250)


def test_what_goes_wrong_is_answered() -> None:
    contestant = op_speed.Contestant("lax", {}, fresh_memory=True)
    assert "failed" in contestant.ask(do="time", warm_up=0, seconds=0, **{"pass": "no such pass"})
    contestant.stop()
    assert contestant.ask(do="prepare", case=0) == {"failed": "the process ended"}


def row(name: str, **ratios: float) -> dict:
    passes = {key: {"ratio": {"median": value}} for key, value in ratios.items()}
    return {
        "name": name,
        "family": name[0],
        "depthwise_2d": True,
        "passes": {report.BOTH: passes, "forward": dict(passes)},
    }


def test_tables_tell_losses_beside_wins() -> None:
    record = {"rows": [row("a1", lax=4, torch=0.5), row("a2", lax=9)]}
    record["rows"][1]["passes"][report.BOTH]["lax, YNN"] = {"ratio": {"median": 0.25}}
    assert report.families(record)[0] == ("a", "2", "6.00", "1.00", "0.25", "0.50")
    assert report.losses(record, "torch") == [
        "a1, forward: torch 0.50",
        f"a1, {report.BOTH}: torch 0.50",
    ]
    assert report.losses(record, "lax") == [f"a2, {report.BOTH}: lax 0.25"]
    assert [report.comparisons(record, baseline) for baseline in ("lax", "torch")] == [4, 2]
    assert math.isnan(report.geometric_mean([]))
