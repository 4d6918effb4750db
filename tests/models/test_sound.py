"""A trained classifier of sounds: arrays, files, streams, its file on disk, export."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io.wavfile
from flax import nnx

from dilax import inference, models
from dilax.data import DataError
from tests.random_arrays import RANDOM

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

SOUNDS = np.int16(RANDOM.normal(size=(3, 800)) * 3000)
OPTIONS = {"in_features": 6, "features": 8, "kernel_size": 3, "kernel_dilation": (1, 2)}


@pytest.fixture(scope="module")
def model(module_compiles_quickly):
    preparation = models.SoundPreparation(
        rate=8000, samples=800, window=64, hop=20, mean=(-2.0,) * 6, std=(3.0,) * 6
    )
    description = models.Description(
        model="tcn_dsdc",
        task="sound_classification",
        class_names=("go", "no", "yes"),
        preparation=preparation,
        options=OPTIONS,
    )
    network = description.create()
    network.head.kernel = nnx.Param(jnp.asarray(RANDOM.normal(size=(8, 3)), jnp.float32))
    return models.TrainedSoundClassifier(network, description)


@pytest.fixture
def folder(tmp_path):
    for name, sound in zip("abc", SOUNDS, strict=True):
        scipy.io.wavfile.write(tmp_path / f"{name}.wav", 8000, sound)
    return tmp_path


def test_statistics_are_those_of_the_training_sounds():
    silence = np.zeros((2, 800), np.int16)
    options = {"bands": 6, "rate": 8000, "window": 64, "hop": 20}
    found = models.SoundPreparation.of_sounds(np.concatenate([SOUNDS, silence]), **options)
    normalise = jax.jit(found.normalise)
    frames = np.asarray(normalise(np.concatenate([SOUNDS, silence]))).reshape(-1, 6)
    np.testing.assert_allclose(frames.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(frames.std(axis=0), 1, rtol=1e-4)
    still = models.SoundPreparation.of_sounds(silence, **options)
    assert min(still.std) > 0


def test_answers_are_those_of_the_logits(model):
    found = model.predict(SOUNDS)
    assert found.probabilities.shape == (3, 3) and not found.paths and not found.notes
    expected = jax.nn.softmax(jax.jit(model.logits)(SOUNDS))
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-5)
    floats = model.predict(np.float64(SOUNDS) / 32_768)
    np.testing.assert_allclose(floats.probabilities, expected, rtol=1e-4)
    assert len(model.predict(SOUNDS[:0]).probabilities) == 0


def test_files_of_any_rate_and_length_are_answered(model, folder):
    scipy.io.wavfile.write(folder / "longer.wav", 8000, np.pad(SOUNDS[0], (500, 700)))
    scipy.io.wavfile.write(folder / "other.wav", 16_000, np.repeat(SOUNDS[0], 2))
    (folder / "bad.wav").write_bytes(b"RIFF")
    found = model.predict(folder)
    assert [path.name for path in found.paths] == [
        *("a.wav", "b.wav", "c.wav", "longer.wav", "other.wav")
    ]
    expected = model.predict(SOUNDS).probabilities
    np.testing.assert_allclose(found.probabilities[:3], expected, rtol=1e-5)
    np.testing.assert_allclose(found.probabilities[3], expected[0], rtol=1e-5)
    ((path, reason),) = found.unread
    assert path.name == "bad.wav" and "is not a readable WAV file" in reason
    assert found.notes == ("resampled to 8,000 Hz: other.wav from 16,000 Hz",)


def test_what_was_heard_so_far_can_be_streamed(model):
    """After as many samples as it was trained on, it is what ``predict`` says."""
    whole = np.asarray(jax.jit(model.follow)(SOUNDS))
    assert whole.shape == (3, 40, 3)
    np.testing.assert_allclose(whole[:, -1], model.predict(SOUNDS).probabilities, rtol=1e-4)
    streaming = inference.stream(model.follow, jnp.zeros((3, 800)))
    assert streaming.multiple == 20
    state, parts = streaming.initial_state, []
    for chunk in np.split(np.float32(SOUNDS) / 32_768, 2, axis=1):
        state, part = streaming.step(state, chunk)
        parts.append(np.asarray(part))
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-4, atol=1e-5)


def test_a_file_holds_all_that_is_needed(model, tmp_path):
    models.save(model, tmp_path / "words.safetensors")
    loaded = models.load(tmp_path / "words.safetensors")
    assert repr(loaded) == "TrainedSoundClassifier(tcn_dsdc, 3 classes, 0.1 s at 8,000 Hz)"
    assert loaded.preparation == model.preparation
    np.testing.assert_array_equal(
        loaded.predict(SOUNDS).probabilities, model.predict(SOUNDS).probabilities
    )


def test_an_exported_network_answers_equally(model, tmp_path):
    path = tmp_path / "words.stablehlo"
    inference.export(model.logits, path, ("batch", 800))
    sounds = np.float32(SOUNDS) / 32_768
    found = inference.load_exported(path)(sounds)
    np.testing.assert_allclose(found, jax.jit(model.logits)(sounds), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("sounds", "error", "message"),
    [
        ("nowhere.wav", FileNotFoundError, "nowhere.wav does not exist; give a sound, or a fold"),
        (3, TypeError, "sounds must be int16 or floats in [-1, 1], got int64"),
        (["a.wav", 3], TypeError, "sounds must be an array or paths, got paths and 3"),
        (np.zeros((1, 2, 3), np.int16), ValueError, "must have shape (samples,) or (N, samples)"),
        (np.zeros((2, 0), np.int16), ValueError, "must have shape (samples,) or (N, samples)"),
    ],
)
def test_what_cannot_be_answered_is_refused(model, sounds, error, message):
    with pytest.raises(error, match=re.escape(message)):
        model.predict(sounds)


def test_a_folder_without_sounds_is_refused(model, tmp_path):
    with pytest.raises(DataError, match=r"must hold sounds \(\.wav\), got none"):
        model.predict(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"std": (1.0, 0.0)}, "std must be positive"),
        ({"std": (1.0,)}, "mean and std must have one entry for each band, got 2 and 1"),
        ({"samples": 100}, "samples must be at least hop, one frame, got 100 and 160"),
        ({"rate": 0}, "rate must be at least 1"),
    ],
)
def test_preparations_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        models.SoundPreparation(**{"mean": (0.0, 0.0), "std": (1.0, 1.0), **options})
