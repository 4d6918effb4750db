"""The profile of forward passes: kinds of operations, told from the compiled program."""

import json

import forward_profile
import jax
import jax.numpy as jnp
import pytest

import dilax


def kinds_of(function, *arguments):
    text = jax.jit(function).lower(*arguments).compile().as_text()
    return {each.kind for each in forward_profile.read_program(text).values()}


def test_kinds_are_told_from_what_is_fused():
    x = jnp.ones((8, 28, 28, 32))
    assert forward_profile.PRODUCTS in kinds_of(lambda x: x @ jnp.ones((32, 64)), x)
    kernel = jnp.ones((3, 3, 1, 32))
    assert forward_profile.DEPTHWISE in kinds_of(lambda x: dilax.depthwise_conv(x, kernel), x)
    assert kinds_of(lambda x: jnp.tanh(x), x) == {forward_profile.REST}


@pytest.mark.long
def test_the_record_of_a_profile(tmp_path, capsys):
    output = tmp_path / "record.json"
    flags = ["--cases", "mnist_dsdc 2@28", "--calls", "2", "--output", str(output)]
    assert forward_profile.main(flags) == 0
    (case,) = json.loads(output.read_text())["cases"].values()
    assert {forward_profile.PRODUCTS, forward_profile.DEPTHWISE} <= set(case["kinds"])
    assert all(milliseconds > 0 for milliseconds in case["kinds"].values())
    assert case["longest"][0]["milliseconds"] >= case["longest"][-1]["milliseconds"]
    assert "| matrix products |" in capsys.readouterr().out
