"""The weights of a trained run, read from its folder and written into a network."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dilax.training import (
    CheckpointError,
    Plan,
    functional,
    load_into,
    read_trained,
    write_json,
)
from tests.training.network import CLASSES, Network, assert_equal_trees, run_shortly

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

PLAN = Plan(num_examples=16, batch_size=8, epochs=3)
ACCURACY = {2: 0.9, 4: 0.2, 6: 0.1}
"""By the step after which it is measured: the first epoch is the best."""


@pytest.fixture(scope="module")
def run(tmp_path_factory, module_compiles_quickly):
    """The folder of a finished run, and what the run returned."""
    folder = tmp_path_factory.mktemp("run")
    fitted = run_shortly(
        folder,
        PLAN,
        config={"any": "flags"},
        validate=lambda state: {"loss": 0.0, "accuracy": ACCURACY[int(state.step)]},
        read_best=True,
    )
    return folder, fitted


@pytest.mark.parametrize("which", ["final", "ema", "best"])
def test_weights_are_those_that_the_record_reports(run, which):
    folder, fitted = run
    expected = fitted.best.weights("final") if which == "best" else fitted.state.weights(which)
    for file, key in (("config.json", "evaluate"), ("summary.json", "weights")):
        write_json(folder / file, {key: which})
        trained = read_trained(folder)
        (folder / file).unlink()
        assert (trained.which, trained.step) == (which, 2 if which == "best" else 6)
        assert_equal_trees(trained.weights, expected)
    assert_equal_trees(read_trained(folder, which=which).weights, expected)
    module = Network(rngs=nnx.Rngs(5))
    assert load_into(module, *trained.weights) == []
    assert_equal_trees(functional(module).params, expected.params)
    assert_equal_trees(functional(module).batch_stats, expected.batch_stats)


def test_without_a_record_they_are_those_of_the_last_step(run):
    assert read_trained(run[0]).which == "final"


def test_a_damaged_checkpoint_is_skipped_and_named(run, tmp_path):
    folder = shutil.copytree(run[0], tmp_path / "copy")
    (folder / "checkpoints" / "6" / "about.json").write_text("{}")
    trained = read_trained(folder)
    assert trained.step == 4
    assert "checkpoint 6 is damaged" in trained.skipped[0]


@pytest.mark.parametrize(
    ("made", "given", "message"),
    [
        ([], "absent", "absent is no folder; give the folder of a trained run"),
        (["empty"], "empty", "empty has no checkpoint; train there first"),
        (["two/seed_5/checkpoints"], "two", "choose one of its runs, such as .*two/seed_5"),
    ],
)
def test_a_folder_without_a_run_is_refused(tmp_path, made, given, message):
    for name in made:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(CheckpointError, match=message):
        read_trained(tmp_path / given)


def test_unknown_weights_are_refused(run):
    with pytest.raises(ValueError, match="which must be one of final, ema, best, got 'worst'"):
        read_trained(run[0], which="worst")


def in_head(path):
    return path[0].key == "head"


def test_a_head_of_other_classes_keeps_its_own_arrays(run):
    weights, module = read_trained(run[0], which="final").weights, Network(rngs=nnx.Rngs(1))
    module.head = nnx.Linear(4, CLASSES + 2, rngs=nnx.Rngs(2))
    own = module.head.kernel[...]
    assert load_into(module, *weights, may_differ=in_head) == ["head.bias", "head.kernel"]
    np.testing.assert_array_equal(module.head.kernel[...], own)
    np.testing.assert_array_equal(module.hidden.kernel[...], weights.params["hidden"]["kernel"])
    np.testing.assert_array_equal(module.norm.mean[...], weights.batch_stats["norm"]["mean"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("wider", r"hidden.bias of params must have the module's shape \(5,\), got \(4,\)"),
        ("more", r"params must hold extra.bias of shape \(1,\), as the module does, got none"),
        ("fewer", "params must hold only arrays that the module has, got also head.bias"),
        ("other", r"head.bias of params must have the module's shape \(5,\), got \(3,\)"),
        ("statistics", r"batch_stats must hold norm.mean of shape \(4,\), .* got none"),
    ],
)
def test_the_first_array_that_does_not_fit_is_named_and_nothing_is_written(run, change, message):
    params, batch_stats = read_trained(run[0], which="final").weights
    module, rngs = Network(rngs=nnx.Rngs(1)), nnx.Rngs(2)
    if change == "wider":
        module.hidden = nnx.Linear(64, 5, rngs=rngs)
    elif change == "more":
        module.extra = nnx.Linear(1, 1, rngs=rngs)
    elif change == "fewer":
        module.head = None
    elif change == "other":
        module.head = nnx.Linear(4, 5, rngs=rngs)
    else:
        batch_stats = {}
    before = jax.tree.map(jnp.copy, functional(module)[1:])
    with pytest.raises(ValueError, match=message):
        load_into(module, params, batch_stats)
    assert_equal_trees(functional(module)[1:], before)
