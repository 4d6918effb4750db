"""The network that labels words: its counts, padding, answers and files."""

import dataclasses
import re

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dilax import models
from dilax.analysis import parameter_count
from dilax.training import Tagging
from tests.models import abstract
from tests.models.test_text import drawn

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

TEXTS = [("5", "Main", "St.,", "Apt", "2"), ("Box", "77"), ("10", "Long", "Rd")]


@pytest.fixture(scope="module")
def model(module_compiles_quickly):
    preparation = models.TaggingPreparation.of_texts(TEXTS, longest=16)
    description = models.Description(
        model="tagger_dsdc",
        task="tagging",
        class_names=("number", "street", "unit"),
        preparation=preparation,
        options={"sizes": preparation.sizes, "features": 8},
    )
    return models.TrainedTagger(drawn(description.create()), description)


def test_docstring_states_the_parameters():
    stated = re.search(r"([\d,]+)\s+parameters", models.TaggerDSDC.__doc__)
    found = parameter_count(nnx.state(abstract.shapes("tagger_dsdc"), nnx.Param))
    assert int(stated[1].replace(",", "")) == found


def test_what_is_numbered_of_words():
    preparation = models.TaggingPreparation.of_texts(TEXTS)
    known = dict(zip(models.TaggingPreparation.COLUMNS, preparation.vocabularies, strict=True))
    assert known["form"] == ("0", "00", "Aa", "Aa.,")
    assert "st" in known["word"] and "mai" in known["start"] and "ain" in known["end"]
    numbers = preparation.encode([("main", "Zq"), ("9",)])
    assert numbers.shape == (2, 2, 4) and not numbers[1, 1].any()
    assert numbers[0, 1].tolist()[0] == 1 and numbers[0, 1, models.TaggingPreparation.FORM] == 4
    again = models.TaggingPreparation(vocabularies=[list(each) for each in known.values()])
    assert again == preparation
    with pytest.raises(ValueError, match="vocabularies must be 4, got 1"):
        models.TaggingPreparation(vocabularies=(("a",),))


def test_without_a_chain_each_word_is_labelled_for_itself(model):
    options = {**model.description.options, "chain": False}
    description = dataclasses.replace(model.description, options=options)
    alone = models.TrainedTagger(drawn(description.create()), description)
    numbers = jnp.asarray(model.preparation.encode(TEXTS))
    scores, transitions, mask = alone.network(numbers)
    assert transitions is None and mask.sum() == 10
    found = np.asarray(scores).argmax(axis=-1)
    for row, labels in zip(found, alone.predict(TEXTS).labels, strict=True):
        assert labels == tuple(model.class_names[label] for label in row[: len(labels)])
    with pytest.raises(TypeError, match="chain must be"):
        dataclasses.replace(description, options={**options, "chain": "no"}).create()


def test_padding_changes_nothing(model):
    numbers = jnp.asarray(model.preparation.encode(TEXTS[1:2]))
    padded = jnp.pad(numbers, ((0, 0), (0, 9), (0, 0)))
    scores, longer = model.network(numbers)[0], model.network(padded)[0]
    np.testing.assert_allclose(longer[:, :2], scores, rtol=1e-6, atol=1e-6)


def test_answers_are_the_most_probable_chains(model):
    found = model.predict(TEXTS)
    assert [*map(len, found.labels)] == [5, 2, 3]
    task = Tagging(classes=3)
    for text, labels in zip(TEXTS, found.labels, strict=True):
        numbers = jnp.asarray(model.preparation.encode([text]))
        decoded = np.asarray(task.decode(model.network(numbers)))[0]
        assert labels == tuple(model.class_names[label] for label in decoded)
        assert model.predict([text], batch_size=1).labels[0] == labels
    assert model.predict("5 Main St., Apt 2").labels[0] == found.labels[0]
    assert len(model.predict(" ".join(["x"] * 99)).labels[0]) == 16


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (3, TypeError, "texts must be a text or a sequence of texts, got 3"),
        ([["a", 3]], TypeError, r"texts\[0\] must be a text or its words"),
        (["a", " "], ValueError, r"texts\[1\] must have words that are not empty"),
    ],
)
def test_what_is_no_text_is_refused(model, texts, error, message):
    with pytest.raises(error, match=message):
        model.predict(texts)


def test_other_axes_are_refused(model):
    with pytest.raises(ValueError, match=r"words must have shape \(N, T, 4\), got \(2, 3\)"):
        model.network(jnp.ones((2, 3), jnp.int32))


def test_a_file_holds_all_that_is_needed(model, tmp_path):
    models.save(model, tmp_path / "tags.safetensors")
    loaded = models.load(tmp_path / "tags.safetensors")
    assert repr(loaded) == "TrainedTagger(tagger_dsdc, 3 labels)"
    assert loaded.preparation == model.preparation
    assert loaded.predict(TEXTS) == model.predict(TEXTS)
