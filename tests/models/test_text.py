"""Networks that classify texts: padding, twins, vocabulary, explanations, files, export."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dilax import inference, models
from dilax.analysis import parameter_count
from dilax.data import DataError
from dilax.models._registry import MODELS
from dilax.models._text import TextBody
from dilax.training import functional
from tests.models import abstract

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

NAMES = [name for name in models.list_models() if issubclass(MODELS[name], models.TextClassifier)]
TEXTS = ["A good film, and a long one.", "A bad film!", "bad bad bad", "Unheard-of"]
SMALL = {"features": 8, "kernel_dilation": (1, 2)}
each_network = pytest.mark.parametrize("name", NAMES)


def drawn(network):
    """The network with parameters that are far from their first values."""
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)
    keys = iter(jax.random.split(jax.random.key(1), 100))
    moved = jax.tree.map(lambda p: p + 0.5 * jax.random.normal(next(keys), p.shape), params)
    return nnx.merge(graphdef, moved, rest)


def make(name="text_dsdc", **options):
    preparation = models.TextPreparation.of_texts(TEXTS[:3], longest=64)
    description = models.Description(
        model=name,
        task="text_classification",
        class_names=("bad", "fair", "good"),
        preparation=preparation,
        options={**SMALL, **options, "words": len(preparation.vocabulary)},
    )
    return models.TrainedTextClassifier(drawn(description.create()), description)


@pytest.fixture(scope="module")
def model(module_compiles_quickly):
    return make()


@each_network
def test_docstring_states_the_parameters(name):
    stated = re.search(r"([\d,]+)\s+parameters", MODELS[name].__doc__)
    found = parameter_count(nnx.state(abstract.shapes(name), nnx.Param))
    assert int(stated[1].replace(",", "")) == found


def test_twins_have_equal_layers():
    words = jax.ShapeDtypeStruct((1, 9), jnp.int32)
    layers = [abstract.layer_shapes(abstract.activations(name), words) for name in NAMES]
    assert NAMES == ["text_dsdc", "text_dense"] and layers[0] == layers[1]
    ours, dense = (
        parameter_count(nnx.state(abstract.shapes(name), nnx.Param)["body"]) for name in NAMES
    )
    assert 2.5 * ours < dense


@each_network
@pytest.mark.parametrize("pooling", ["mean", "both"])
def test_padding_changes_nothing(name, pooling):
    """Neither more of it, nor longer texts in the batch."""
    network = make(name, pooling=pooling).network
    words = jax.random.randint(jax.random.key(0), (3, 11), 1, 9)
    alone = network(words[:1, :5])
    padded = jnp.pad(words[:1, :5], ((0, 0), (0, 40)))
    np.testing.assert_allclose(network(padded), alone, rtol=1e-6, atol=1e-6)
    batch = words.at[0, 5:].set(0)
    np.testing.assert_allclose(network(batch)[:1], alone, rtol=1e-6, atol=1e-6)
    assert abs(network(words)[0] - alone[0]).max() > 1e-3


@pytest.mark.parametrize("pooling", ["mean", "both"])
def test_a_text_of_padding_alone_is_finite(pooling):
    network = make(pooling=pooling).network
    np.testing.assert_allclose(network(jnp.zeros((1, 4), jnp.int32))[0], network.head.bias[...])


def test_dropout_is_random_in_training_alone(model):
    apply, params, _ = functional(model.network)
    words = jnp.full((2, 6), 3)
    first, second = (
        apply(params, {}, words, train=True, key=jax.random.key(seed))[0] for seed in (0, 1)
    )
    assert abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(*(apply(params, {}, words, train=False)[0] for _ in range(2)))


def test_answers_do_not_depend_on_the_batch(model):
    together = model.predict(TEXTS)
    assert together.probabilities.sum(axis=-1) == pytest.approx(1)
    assert set(together.classes) <= {"bad", "fair", "good"}
    for text, row in zip(TEXTS, together.probabilities, strict=True):
        np.testing.assert_allclose(model.predict(text).probabilities[0], row, rtol=1e-5)
    small = model.predict(TEXTS, batch_size=2)
    np.testing.assert_allclose(small.probabilities, together.probabilities, rtol=1e-5)
    logits = model.logits(model.preparation.encode(TEXTS))
    np.testing.assert_allclose(jax.nn.softmax(logits), together.probabilities, rtol=1e-5)


def test_long_texts_are_cut(model):
    kept = " ".join(["good"] * 64)
    found = model.predict([kept, kept + " bad" * 99]).probabilities
    np.testing.assert_array_equal(*found)
    assert len(model.explain(kept + " bad")) == 64


def test_an_explanation_is_the_slope_along_each_word(model):
    words = model.explain(TEXTS[0], class_name="good")
    assert [word.word for word in words][:4] == ["a", "good", "film", ","]
    assert all(word.known for word in words)
    assert [word.known for word in model.explain("good thing")] == [True, False]
    numbers = jnp.asarray(model.preparation.encode(TEXTS[:1]))
    vectors, mask = model.network.embed(numbers), numbers != 0

    def margin(scale):
        logits = model.network.layers(vectors * scale[None, :, None], mask)["logits"][0]
        return logits[2] - logits[:2].mean()

    slopes = jax.jacfwd(margin)(jnp.ones(len(words)))
    np.testing.assert_allclose([word.score for word in words], slopes, rtol=1e-3, atol=1e-4)
    best = model.predict(TEXTS[0]).classes[0]
    assert model.explain(TEXTS[0]) == model.explain(TEXTS[0], class_name=best)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.predict(3), TypeError, "texts must be a text or a sequence of texts, got 3"),
        (lambda m: m.predict(["a", 3]), TypeError, r"texts\[1\] must be a text, got 3"),
        (lambda m: m.predict(["a", " "]), ValueError, r"texts\[1\] must have a word, got an empty"),
        (lambda m: m.predict("a", batch_size=0), ValueError, "batch_size must be at least 1"),
        (lambda m: m.explain("a", class_name="x"), ValueError, "class_name must be one of bad, f"),
        (lambda m: m.network(jnp.ones(3, int)), ValueError, r"a batch of one: words\[None\]"),
        (lambda m: m.network(jnp.ones((1, 3))), TypeError, "words must be integers, got float32"),
        (lambda m: make(pooling="sum"), ValueError, "pooling must be max, mean or both, got 's"),
        (lambda m: make(dropout=1.0), ValueError, "dropout must be at least 0 and below 1"),
    ],
)
def test_what_cannot_be_answered_is_refused(model, call, error, message):
    with pytest.raises(error, match=message):
        call(model)


def test_a_file_holds_all_that_is_needed(model, tmp_path):
    models.save(model, tmp_path / "texts.safetensors")
    loaded = models.load(tmp_path / "texts.safetensors")
    assert isinstance(loaded, models.TrainedTextClassifier)
    assert repr(loaded) == "TrainedTextClassifier(text_dsdc, 3 classes, 12 words)"
    assert loaded.preparation == model.preparation
    np.testing.assert_array_equal(
        loaded.predict(TEXTS).probabilities, model.predict(TEXTS).probabilities
    )


def test_the_preparation_is_that_of_the_task(model):
    pictures = models.Preparation(height=8, width=8, mean=(0.5,), std=(0.2,))
    with pytest.raises(TypeError, match="preparation must be a TextPreparation"):
        dataclasses.replace(model.description, preparation=pictures)
    content = model.description.as_json()
    assert models.Description.from_json(content) == model.description
    with pytest.raises(DataError, match="words must differ"):
        models.Description.from_json({**content, "preparation": {"words": ["a", "a"]}})


@pytest.mark.parametrize("suffix", [".stablehlo", ".onnx"])
def test_exported_networks_answer_equally(model, tmp_path, suffix):
    path = tmp_path / f"texts{suffix}"
    inference.export(model.logits, path, ("batch", "words"), dtype=jnp.int32)
    for texts in (TEXTS, TEXTS[1:2]):
        words = model.preparation.encode(texts)
        if suffix == ".stablehlo":
            found = inference.load_exported(path)(words)
        else:
            runtime = pytest.importorskip("onnxruntime")
            session = runtime.InferenceSession(path)
            (found,) = session.run(None, {session.get_inputs()[0].name: words})
        np.testing.assert_allclose(found, model.logits(words), rtol=1e-4, atol=1e-4)


def test_a_body_sees_as_far_as_its_dilations():
    body = drawn(TextBody(4, kernel_dilation=(1, 2, 4), rngs=nnx.Rngs(0)))
    x, mask = jnp.ones((1, 31, 4)), jnp.ones((1, 31), bool)
    moved = np.asarray(abs(body(x.at[0, 15].add(1.0), mask) - body(x, mask)).max(axis=(0, 2)))
    assert (moved[:8] == 0).all() and (moved[23:] == 0).all()
