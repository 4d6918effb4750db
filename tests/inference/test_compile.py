"""Functions compiled in the fastest way: chosen by a race, remembered, stored, and read back."""

import functools
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dilax
from dilax.inference import ExportError, _race, compile, export, load_compiled, load_exported
from dilax.inference._race import DEFAULTS, FORMS, Way
from tests.inference.test_fold import close
from tests.random_arrays import draw

KERNEL, FACTOR = draw(3, 3, 1, 8), draw(1, 1, 1, 8)
IMAGES = draw(2, 12, 12, 8)


def layer(x, kernel=KERNEL):
    """A depthwise convolution by lax, scaled."""
    numbers = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=8
    )
    return y * FACTOR + 0.5


@pytest.fixture(autouse=True)
def short_races(monkeypatch):
    monkeypatch.setattr(_race, "ROUNDS", 1)
    monkeypatch.setattr(_race, "SECONDS", 0.0)


@pytest.fixture
def winner(monkeypatch):
    """Let a way win every race in which it takes part, and count the races."""

    def choose(*names):
        ranks = {str(way): rank for rank, way in enumerate(names)}
        races = []

        def timed(runs):
            races.append([*map(str, runs)])
            return {way: float(ranks.get(str(way), 9)) for way in runs}

        monkeypatch.setattr(_race, "timed", timed)
        return races

    return choose


@pytest.mark.parametrize("form", FORMS)
def test_every_form_computes_the_same(form, winner):
    winner(form)
    compiled = compile(layer, IMAGES)
    assert compiled.way == form and dict(compiled.compiler_options) == {}
    close(compiled(IMAGES), layer(IMAGES), 1e-5)


def is_known(options):
    """Whether this XLA has the options; older ones lack some."""
    try:
        jax.jit(jnp.sin).lower(1.0).compile(compiler_options=dict(_race.OPTIONS[options]))
    except jax.errors.JaxRuntimeError:
        return False
    return True


def test_forms_race_first_then_options_for_the_winner(winner):
    races = winner("accelerated", "as it is")
    compile(layer, IMAGES)
    assert races[0] == [*FORMS]
    known = filter(is_known, _race.OPTIONS)
    assert races[1] == [str(Way("accelerated", options)) for options in known]


def test_times_of_every_way_that_raced_are_kept():
    compiled = compile(layer, IMAGES)
    assert set(FORMS) < set(compiled.milliseconds) and compiled.way in compiled.milliseconds
    assert min(compiled.milliseconds.values()) > 0


def test_options_reach_xla(winner):
    winner("accelerated", "accelerated, vectors of 512 bits")
    winner("accelerated, vectors of 512 bits", "accelerated")
    compiled = compile(layer, IMAGES)
    assert dict(compiled.compiler_options) == {"xla_cpu_prefer_vector_width": "512"}
    close(compiled(IMAGES), layer(IMAGES), 1e-5)


@pytest.mark.parametrize("mistake", ["raises", "differs"])
def test_a_way_that_fails_does_not_race(mistake, monkeypatch, winner):
    def wrong(function):
        def called(x):
            if mistake == "raises":
                raise ValueError("not this form")
            return function(x) + 1

        return called

    monkeypatch.setattr(_race, "FORMS", {**FORMS, "accelerated": wrong})
    races = winner("accelerated")
    compiled = compile(layer, IMAGES)
    assert "accelerated" not in races[0] and not compiled.way.startswith("accelerated")
    close(compiled(IMAGES), layer(IMAGES), 1e-5)


def test_options_that_xla_does_not_know_are_left_out(monkeypatch, winner):
    options = {DEFAULTS: {}, "of tomorrow": {"xla_cpu_of_tomorrow": True}}
    monkeypatch.setattr(_race, "OPTIONS", options)
    races = winner("accelerated, of tomorrow")
    compiled = compile(layer, IMAGES)
    assert len(races[1]) == 1 and dict(compiled.compiler_options) == {}


def test_trees_integers_and_numbers_that_are_not_finite():
    def of_tree(pair):
        return {"index": pair["x"].argmax(), "log": jnp.log(pair["x"] * pair["on"])}

    pair = {"x": np.float32([1, 0, -1]), "on": np.array([1, 1, 0])}
    compiled = compile(of_tree, pair)
    with np.errstate(invalid="ignore", divide="ignore"):
        np.testing.assert_array_equal(compiled(pair)["log"], np.float32([0, -np.inf, -np.inf]))
    assert compiled(pair)["index"] == 0


def test_another_shape_is_refused():
    compiled = compile(layer, IMAGES)
    message = r"must be float32\[2,12,12,8\], got float32\[1,12,12,8\]; compile the function again"
    with pytest.raises(TypeError, match=message):
        compiled(IMAGES[:1])


# --- files ----------------------------------------------------------------------------------------


def test_a_new_process_computes_the_same(tmp_path, winner):
    winner("accelerated", "accelerated, vectors of 512 bits")
    compiled, path = compile(layer, IMAGES), tmp_path / "layer.stablehlo"
    compiled.save(path)
    np.save(tmp_path / "x.npy", IMAGES)
    code = f"""
import numpy as np
from dilax import inference
compiled = inference.load_compiled({str(path)!r})
assert compiled.way == {compiled.way!r} and not compiled.milliseconds
np.save({str(tmp_path / "y.npy")!r}, compiled(np.load({str(tmp_path / "x.npy")!r})))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    close(np.load(tmp_path / "y.npy"), layer(IMAGES), 1e-5)


def test_a_saved_function_can_be_saved_again_and_differentiated(tmp_path):
    first, second = tmp_path / "first.stablehlo", tmp_path / "second.stablehlo"
    compile(layer, IMAGES).save(first)
    load_compiled(first).save(second)
    close(load_exported(second)(IMAGES), layer(IMAGES), 1e-5)


def test_damage_is_found(tmp_path, long):
    path, other = tmp_path / "layer.stablehlo", tmp_path / "damaged.stablehlo"
    compile(layer, IMAGES).save(path)
    content = path.read_bytes()
    for place in range(0, len(content), 1 if long else len(content) // 20):
        damaged = bytearray(content)
        damaged[place] ^= 1
        other.write_bytes(damaged)
        with pytest.raises(ExportError, match="is damaged"):
            load_compiled(other)
    other.write_bytes(content[:-40])
    with pytest.raises(ExportError, match="is damaged"):
        load_compiled(other)


def test_files_of_another_kind_are_refused(tmp_path):
    with pytest.raises(ExportError, match=r"must end in .stablehlo, got 'layer.onnx'"):
        compile(layer, IMAGES).save(tmp_path / "layer.onnx")
    path = tmp_path / "layer.stablehlo"
    export(layer, path, IMAGES.shape)
    with pytest.raises(ExportError, match="read it with load_exported"):
        load_compiled(path)
    with pytest.raises(FileNotFoundError):
        load_compiled(tmp_path / "nothing.stablehlo")


def test_a_file_for_another_platform_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "layer.stablehlo"
    compile(layer, IMAGES).save(path)
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    with pytest.raises(ExportError, match="is for cpu, got tpu; compile the function there"):
        load_compiled(path)


# --- the memory of choices ------------------------------------------------------------------------


def test_a_choice_is_remembered_for_other_weights_but_not_for_other_shapes(tmp_path, winner):
    races = winner("accelerated", "accelerated, vectors of 512 bits")
    cached = functools.partial(compile, cache=tmp_path / "choices")
    first = cached(layer, IMAGES)
    assert len(races) == 2
    other = functools.partial(layer, kernel=2 * KERNEL)
    second = cached(other, IMAGES)
    assert len(races) == 2 and second.way == first.way and not second.milliseconds
    close(second(IMAGES), other(IMAGES), 1e-5)
    cached(layer, IMAGES[:1])
    assert len(races) == 4


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"form": "by magic"}', '{"form": "as it is", "a": 1}']
)
def test_a_damaged_memory_is_ignored(content, tmp_path, winner):
    races = winner()
    compile(layer, IMAGES, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    compile(layer, IMAGES, cache=tmp_path)
    assert len(races) == 4 and set(json.loads(path.read_text())) == {"form", "options"}


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function, tolerance, error, message",
    [
        (3, 1e-4, TypeError, "function must be a function, got 3"),
        (layer, 0.0, ValueError, "tolerance must be positive, got 0.0"),
        (layer, "small", TypeError, "tolerance must be a real number, got 'small'"),
    ],
)
def test_wrong_arguments(function, tolerance, error, message):
    with pytest.raises(error, match=message):
        compile(function, IMAGES, tolerance=tolerance)


def test_side_effects_are_named():
    def loud(x):
        jax.debug.print("x {}", x, ordered=True)
        return x

    with pytest.raises(ExportError, match="function cannot be exported"):
        compile(loud, IMAGES)


def test_dilax_functions_compile():
    compiled = compile(lambda x: dilax.depthwise_conv(x, KERNEL, kernel_dilation=2), IMAGES)
    close(compiled(IMAGES), dilax.depthwise_conv(IMAGES, KERNEL, kernel_dilation=2), 1e-5)
