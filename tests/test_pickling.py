"""Whatever dilax makes can be pickled and copied, also into another process, and works the same."""

import copy
import inspect
import pickle
import subprocess
import sys
from types import FunctionType

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dilax
from dilax import data, models, nn
from tests.models import abstract
from tests.nn.test_conventions import ARGUMENTS
from tests.processes import environment

pytestmark = pytest.mark.usefixtures("compile_quickly")
IMAGES = {"mnist": (2, 28, 28, 1), "cifar": (2, 32, 32, 3)}
WORDS = (2, 9)
BASE_CLASSES = {
    *("Classifier", "Segmenter", "Detector", "SuperResolver"),
    *("TextClassifier", "Tagger", "SequenceClassifier", "VideoClassifier"),
}


def module(name):
    stock = {"Conv": (8, 6, (3, 3)), "BatchNorm": (8,)}
    arguments, own = ARGUMENTS.get(name) or (stock[name], {})
    return getattr(nn, name)(*arguments, **own, rngs=nnx.Rngs(0)), (2, 9, 9, 8)


def network(name):
    made = models.create(name, rngs=nnx.Rngs(0))
    if isinstance(made, models.TextClassifier):
        return made, WORDS
    if isinstance(made, models.Tagger):
        return made, (*WORDS, 4)
    if isinstance(made, models.SequenceClassifier):
        return made, (2, 12, made.in_features)
    if isinstance(made, models.VideoClassifier):
        return made, (2, 4, 16, 16, 1)
    grey = "mnist" in name or isinstance(made, models.Segmenter)
    return made, IMAGES["mnist" if grey else "cifar"]


MADE = {
    **{f"nn.{name}": lambda name=name: module(name) for name in nn.__all__},
    **{f"models.{name}": lambda name=name: network(name) for name in models.list_models()},
}
SHORT = ("models.mnist_dsdc", "models.tcn_dsdc")


def long_for_networks(name):
    """All modules, and a few of the networks, which are made of them."""
    long = name.startswith("models.") and name not in SHORT
    return pytest.param(name, marks=pytest.mark.long if long else ())


PUBLIC = {
    f"{package.__name__}.{name}": getattr(package, name)
    for package in (dilax, nn, models, data)
    for name in package.__all__
    if isinstance(getattr(package, name), (type, FunctionType))
}
WAYS = {
    "pickle": lambda made: pickle.loads(pickle.dumps(made)),
    "cloudpickle": lambda made: pickle.loads(cloudpickle.dumps(made)),
    "deepcopy": copy.deepcopy,
}


def outputs(made, shape):
    """What a module gives for one input; its statistics and keys do not move."""
    graph, state = nnx.split(made)
    x = jnp.linspace(-1, 1, int(np.prod(shape))).reshape(shape)
    x = jnp.arange(x.size).reshape(shape) if shape[:2] == WORDS else x
    found = jax.jit(lambda state, x: nnx.merge(graph, state)(x))(state, x)
    return np.asarray(jax.tree.leaves(found)[0])


def same_state(loaded, made):
    found, expected = (
        jax.tree.leaves_with_path(nnx.to_pure_dict(nnx.state(m))) for m in (loaded, made)
    )
    for (path, array), (where, other) in zip(found, expected, strict=True):
        assert path == where
        assert array.dtype == other.dtype
        if not jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("name", [long_for_networks(name) for name in MADE])
def test_modules_and_networks(name):
    made, shape = MADE[name]()
    expected = outputs(made, shape)
    for way in WAYS.values():
        loaded = way(made)
        assert type(loaded) is type(made)
        assert loaded is not made
        same_state(loaded, made)
    np.testing.assert_array_equal(outputs(WAYS["pickle"](made), shape), expected)


def test_every_class_is_here():
    """The networks of the registry are all that are public, and every module of ``dilax.nn``."""
    named = {name: getattr(models, name) for name in models.__all__}
    networks = {name for name, value in named.items() if is_network(value)}
    made = {type(abstract.shapes(name)).__name__ for name in models.list_models()}
    assert made == networks - BASE_CLASSES


def is_network(value):
    return inspect.isclass(value) and issubclass(value, nnx.Module)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names(name):
    """Each by itself, for a program that sends functions and classes to workers."""
    for way in WAYS.values():
        assert way(PUBLIC[name]) is PUBLIC[name]


ACTIVATIONS = {
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "jnp.tanh": jnp.tanh,
    "lax.logistic": jax.lax.logistic,
    "of a partial": jax.tree_util.Partial(jax.nn.leaky_relu, negative_slope=0.1),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    made = nn.SeparableBlock(8, 6, (3, 3), activation=ACTIVATIONS[name], rngs=nnx.Rngs(0))
    shape = (2, 9, 9, 8)
    for way in WAYS.values():
        np.testing.assert_array_equal(outputs(way(made), shape), outputs(made, shape))


def test_a_function_without_a_name_needs_cloudpickle():
    made = nn.SeparableBlock(8, 6, (3, 3), activation=lambda y: 2 * y, rngs=nnx.Rngs(0))
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pickle.dumps(made)
    shape = (2, 9, 9, 8)
    np.testing.assert_array_equal(outputs(WAYS["cloudpickle"](made), shape), outputs(made, shape))


@pytest.mark.parametrize("way", WAYS)
def test_data_sets(way):
    made = data.shapes(train_count=10, test_count=10)
    loaded = WAYS[way](made)
    assert loaded.fingerprint == made.fingerprint
    assert (loaded.name, loaded.class_names, loaded.source) == (
        made.name, made.class_names, made.source,
    )  # fmt: skip
    with pytest.raises(TypeError):
        loaded.splits["train"] = None
    split = WAYS[way](made.splits["train"])
    np.testing.assert_array_equal(split.images, made.splits["train"].images)
    assert str(WAYS[way](data.DataError("damaged"))) == "damaged"


@pytest.mark.long
def test_across_processes(tmp_path):
    """Another process loads what this one wrote, and finds the same outputs."""
    names = ["nn.Conv", "nn.SeparableBlock", "nn.ASPP", "models.mnist_dsdc", "models.tiniest"]
    made = {name: MADE[name]() for name in names}
    drawn = data.shapes(train_count=10, test_count=10)
    (tmp_path / "made").write_bytes(pickle.dumps((made, drawn)))
    (tmp_path / "again.py").write_text(
        "import pathlib, pickle, sys\n"
        "import numpy as np\n"
        "from tests.test_pickling import outputs\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "made, found = pickle.loads((folder / 'made').read_bytes())\n"
        "np.savez(folder / 'found', **{name: outputs(*one) for name, one in made.items()})\n"
        "print(found.fingerprint)\n"
    )
    ran = subprocess.run(
        [sys.executable, str(tmp_path / "again.py"), str(tmp_path)],
        env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.strip() == drawn.fingerprint
    found = np.load(tmp_path / "found.npz")
    for name, one in made.items():
        np.testing.assert_allclose(found[name], outputs(*one), rtol=1e-6, atol=1e-6)
