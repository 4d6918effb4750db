"""Roles race: every derivative is timed, and what is slower than lax is listed."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import role_speed


@pytest.mark.long
def test_every_derivative_leaves_times_and_memory(tmp_path: Path, monkeypatch) -> None:
    operation = role_speed.convolution((5, 4), (4, 4, 4), {"size": 3, "lhs_dilation": 2}, "float32")
    monkeypatch.setattr(role_speed, "operations", lambda: [operation])
    output = tmp_path / "record.json"
    flags = ["--rounds", "1", "--milliseconds", "0.1", "--output", str(output)]
    assert role_speed.main(flags) == 0
    record = json.loads(output.read_text())
    assert [row["derivative"] for row in record["rows"]] == list(role_speed.DERIVATIVES)
    for row in record["rows"]:
        assert (
            set(row["milliseconds"]) == set(row["temporary_bytes"]) == {"lax", "outside", "inside"}
        )
    record["rows"][0]["times_faster"]["inside"]["median"] = 0.5
    assert f"value of {operation.name} (inside 0.50)" in role_speed.section(record)


@pytest.mark.parametrize("name", role_speed.DERIVATIVES)
def test_contestants_compute_the_same(name: str) -> None:
    _, function, operands = role_speed.convolution(
        (5, 4), (4, 4, 2), {"size": 3, "window_strides": 2}, "float32"
    )
    derivative = role_speed.DERIVATIVES[name]
    expected = derivative(function)(*operands)
    for found in (
        role_speed.dilax.accelerate(derivative(function))(*operands),
        derivative(role_speed.dilax.accelerate(function))(*operands),
    ):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3), found, expected
        )


def test_the_operations_have_names_of_their_own() -> None:
    names = [operation.name for operation in role_speed.operations()]
    assert len(names) == len(set(names)) == 32
