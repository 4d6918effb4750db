"""Time series as a network takes them, and trained networks that are asked."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from dilax import models
from dilax.data import DataError
from dilax.models import Sequences

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")


def drawn(*lengths, channels=2):
    random = np.random.default_rng(0)
    return [random.normal(3, 2, (length, channels)).astype(np.float32) for length in lengths]


@pytest.fixture(scope="module")
def model(module_compiles_quickly):
    description = models.Description(
        model="tcn_dsdc",
        task="series_classification",
        class_names=("moving", "still"),
        preparation=models.SeriesPreparation(mean=(3.0, 3.0), std=(2.0, 2.0)),
        options={"in_features": 2, "features": 4, "kernel_size": 3, "kernel_dilation": (1, 2)},
    )
    return models.TrainedSeriesClassifier(description.create(), description)


def test_statistics_are_those_of_the_values_that_are_there():
    series = drawn(5, 9, 2)
    padded = models.SeriesPreparation(mean=(0, 0), std=(1, 1)).encode(series)
    values = np.where(padded.mask[..., None], padded.values, 1e6)  # padding may be anything
    found = models.SeriesPreparation.of_series(values, padded.lengths)
    together = np.concatenate(series).astype(np.float64)
    np.testing.assert_allclose(found.mean, together.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, together.std(axis=0), rtol=1e-12)
    expected = [(one - together.mean(axis=0)) / together.std(axis=0) for one in series]
    normalised = found.normalise(Sequences(values.astype(np.float32), padded.lengths))
    for row, one in zip(np.asarray(normalised.values), expected, strict=True):
        np.testing.assert_allclose(row[: len(one)], one, rtol=1e-5, atol=1e-5)
        assert (row[len(one) :] == 0).all()


def test_each_series_may_be_normalised_by_itself():
    series = [*drawn(5, 9), np.full((4, 2), 7.0)]
    preparation = models.SeriesPreparation(mean=(0, 0), std=(1, 1), each=True)
    found = preparation.normalise(preparation.encode(series))
    for row, one in zip(np.asarray(found.values), series[:2], strict=False):
        own = one.astype(np.float64)
        expected = (own - own.mean(axis=0)) / own.std(axis=0)
        np.testing.assert_allclose(row[: len(one)], expected, rtol=1e-4, atol=1e-5)
    assert (found.values[2] == 0).all()  # a constant series stays finite


def test_answers_do_not_depend_on_the_other_series(model):
    series = drawn(20, 3, 11)
    together = model.predict(series)
    np.testing.assert_allclose(together.probabilities.sum(axis=-1), 1, rtol=1e-5)
    for one, row in zip(series, together.probabilities, strict=True):
        np.testing.assert_allclose(model.predict([one]).probabilities[0], row, rtol=1e-5)
    small = model.predict(series, batch_size=2).probabilities
    np.testing.assert_allclose(small, together.probabilities, rtol=1e-5)
    logits = np.asarray(model.logits(series[0][None]))[0]
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(together.probabilities[0], expected, rtol=1e-5)


def test_an_explanation_adds_up_to_the_margin_of_the_logits(model):
    (one,) = drawn(13)
    logits = np.asarray(model.logits(one[None]))[0]
    for place, name in enumerate(model.class_names):
        found = model.explain(one, class_name=name)
        assert found.shape == (13,)
        np.testing.assert_allclose(found.mean(), logits[place] - logits[1 - place], atol=1e-5)
    best = model.predict([one]).classes[0]
    np.testing.assert_array_equal(model.explain(one), model.explain(one, class_name=best))
    later = np.concatenate([one, 9 + one])  # a score depends on no later values
    np.testing.assert_allclose(
        model.explain(later, class_name=best)[:13], model.explain(one), rtol=1e-4, atol=1e-4
    )


def test_a_file_and_a_saved_network_answer_alike(model, tmp_path):
    series = drawn(6, 4)
    lines = [":".join(",".join(map(str, column)) for column in one.T) for one in series]
    file = tmp_path / "new.ts"
    file.write_text("@univariate false\n@data\n" + "\n".join(lines))
    models.save(model, tmp_path / "network.safetensors")
    loaded = models.load(tmp_path / "network.safetensors")
    assert repr(loaded) == "TrainedSeriesClassifier(tcn_dsdc, 2 classes, 2 channels)"
    assert loaded.description == model.description
    answers = model.predict(series).probabilities
    np.testing.assert_allclose(loaded.predict(file).probabilities, answers, rtol=1e-5)


def test_a_series_of_one_channel_needs_no_axis():
    preparation = models.SeriesPreparation(mean=(0.0,), std=(1.0,))
    found = preparation.encode([np.arange(3), jnp.ones((2, 1))])
    assert found.values[..., 0].tolist() == [[0, 1, 2], [1, 1, 0]]
    assert found.lengths.tolist() == [3, 2]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.predict(3), TypeError, "series must be the path of a .ts file or a sequence"),
        (lambda m: m.predict("nowhere.ts"), DataError, "nowhere.ts must be a .ts file of time"),
        (lambda m: m.predict([["a"]]), TypeError, r"series\[0\] must be an array of numbers"),
        (lambda m: m.predict(drawn(3, channels=3)), DataError, r"shape \(T, 2\), got \(3, 3\)"),
        (lambda m: m.predict([np.ones((0, 2))]), DataError, r"shape \(T, 2\), got \(0, 2\)"),
        (lambda m: m.predict([np.full((3, 2), np.inf)]), DataError, r"series\[0\] must be finite"),
        (lambda m: m.explain(3), DataError, r"series\[0\] must have shape \(T, 2\), got \(\)"),
        (
            lambda m: m.explain(np.ones((3, 2)), class_name="flying"),
            ValueError,
            "class_name must be one of moving, still, got 'flying'",
        ),
        (lambda m: m.predict(drawn(3), batch_size=0), ValueError, "batch_size must be at least 1"),
    ],
)
def test_what_is_no_series_is_refused(model, call, error, message):
    with pytest.raises(error, match=message):
        call(model)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"mean": ()}, ValueError, "mean and std must have one entry for each channel, got 0 and"),
        ({"std": (0.0,)}, ValueError, "std must be positive, got"),
        ({"std": ("a",)}, TypeError, "each of std must be"),
        ({"each": "yes"}, TypeError, "each must be True or False, got 'yes'"),
    ],
)
def test_what_is_no_preparation_is_refused(changed, error, message):
    right = models.SeriesPreparation(mean=(0.0,), std=(1.0,))
    with pytest.raises(error, match=message):
        dataclasses.replace(right, **changed)
