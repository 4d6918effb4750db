"""Sounds: spectrograms by their definition and as a stream, WAV files, folders of classes."""

import re

import jax
import numpy as np
import pytest
import scipy.io.wavfile

from dilax import data, inference
from dilax.data._sound_files import fit_length
from tests.data import mel

SMALL = {"rate": 8000, "window": 24, "hop": 10, "bands": 5, "low": 100.0, "floor": 1e-6}
WAVE = np.sin(np.arange(800) * 0.3) * 0.5


def spectrogram(sounds, padding="CAUSAL"):
    return jax.jit(lambda x: data.log_mel_spectrogram(x, **SMALL, padding=padding))(sounds)


@pytest.mark.parametrize(
    ("padding", "samples"), [("CAUSAL", 100), ("VALID", 107), ((12, 12), 100), ((0, 24), 107)]
)
def test_a_spectrogram_equals_its_definition(padding, samples):
    x = np.random.default_rng(0).normal(size=(2, samples)).astype(np.float32)
    expected = mel.log_mel(x, **SMALL, high=None, padding=padding)
    np.testing.assert_allclose(spectrogram(x, padding), expected, rtol=1e-4, atol=1e-4)


def test_the_default_spectrogram_is_that_of_speech():
    x = np.random.default_rng(0).normal(size=1600).astype(np.float32)
    options = {"rate": 16_000, "window": 400, "hop": 160, "bands": 40, "low": 20.0, "floor": 1e-6}
    expected = mel.log_mel(x, **options, high=None, padding="CAUSAL")
    found = jax.jit(data.log_mel_spectrogram)(x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize(("window", "size"), [(512, 512), (400, 512)])
def test_a_spectrogram_equals_that_of_librosa(window, size):
    librosa = pytest.importorskip("librosa")
    x = np.random.default_rng(0).normal(size=16_000).astype(np.float32) * 0.1
    energy = librosa.feature.melspectrogram(
        y=x, sr=16_000, n_fft=size, hop_length=160, win_length=window, n_mels=40, fmin=20
    )
    found = data.log_mel_spectrogram(x, window=window, padding=(window // 2, window // 2))
    np.testing.assert_allclose(found, np.log(energy.T + 1e-6), rtol=1e-4, atol=1e-4)


def test_a_spectrogram_can_be_streamed():
    x = np.random.default_rng(1).normal(size=(1, 200)).astype(np.float32)
    streaming = inference.stream(spectrogram, x)
    assert streaming.multiple == 10
    state, parts = streaming.initial_state, []
    for chunk in np.split(x, [100], axis=1):
        state, part = streaming.step(state, chunk)
        parts.append(np.asarray(part))
    whole = spectrogram(x)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_silence_is_finite():
    gradient = jax.jit(jax.grad(lambda x: spectrogram(x).sum()))(np.zeros(100, np.float32))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"high": 4001.0}, "low and high must be from 0 to half the rate, 4000.0 Hz"),
        ({"low": 2000.0, "high": 1000.0}, "high above low, got 2000.0 and 1000.0"),
        ({"high": 600.0}, "bands must be wide enough for window and rate, got band 2 of 5"),
        ({"hop": 25}, "hop must be at most 24, got 25"),
        ({"floor": 0.0}, "floor must be positive, got 0.0"),
        ({"padding": "SAME"}, "padding must be VALID, CAUSAL or two integers, got 'SAME'"),
    ],
)
def test_what_makes_no_spectrogram_is_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        data.log_mel_spectrogram(np.zeros(100, np.float32), **{**SMALL, **options})
    with pytest.raises(TypeError, match="divide 16-bit integers by 32768"):
        data.log_mel_spectrogram(np.zeros(100, np.int16))


# --- files ----------------------------------------------------------------------------------------


def write(path, samples=WAVE, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.wavfile.write(path, rate, samples)
    return path


def write_24_bits(path):
    """What SciPy cannot write: 3 bytes a sample."""
    write(path, np.int32(WAVE * (2**31 - 1)))
    head, body = path.read_bytes()[:44], path.read_bytes()[44:]
    shortened = b"".join(body[at + 1 : at + 4] for at in range(0, len(body), 4))
    head = bytearray(head)
    for place, size, value in (
        (4, 4, 36 + len(shortened)),
        (28, 4, 48_000),
        (32, 2, 3),
        (34, 2, 24),
        (40, 4, len(shortened)),
    ):
        head[place : place + size] = value.to_bytes(size, "little")
    path.write_bytes(bytes(head) + shortened)


@pytest.mark.parametrize(
    ("samples", "within"),
    [
        (np.uint8(WAVE * 127 + 128), 2 / 127),
        (np.int16(WAVE * 32_767), 1e-4),
        (np.int32(WAVE * (2**31 - 1)), 1e-4),
        (np.float32(WAVE), 1e-4),
        (WAVE, 1e-4),
        (np.stack([np.int16(WAVE * 32_767), np.zeros(800, np.int16)], axis=1) * 2, None),
    ],
    ids=["uint8", "int16", "int32", "float32", "float64", "stereo"],
)
def test_sounds_of_all_kinds_are_read(tmp_path, samples, within):
    found, rate = data.read_sound(write(tmp_path / "a.wav", samples))
    assert found.dtype == np.int16 and rate == 16_000
    if within is None:
        samples = samples.astype(np.float64).mean(axis=1) / 32_767
        np.testing.assert_allclose(found / 32_767, samples, atol=1e-4)
    else:
        np.testing.assert_allclose(found / 32_767, WAVE, atol=within)


def test_sounds_of_24_bits_are_read(tmp_path):
    write_24_bits(tmp_path / "a.wav")
    np.testing.assert_allclose(
        data.read_sound(tmp_path / "a.wav").samples / 32_767, WAVE, atol=1e-4
    )


def test_another_rate_is_resampled(tmp_path):
    """A tone stays that tone, away from its ends."""
    times = np.arange(4410) / 44_100
    tone = np.float32(0.5 * np.sin(2 * np.pi * 440 * times))
    found = data.read_sound(write(tmp_path / "a.wav", tone, 44_100))
    assert found.file_rate == 44_100 and len(found.samples) == 1600
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(1600) / 16_000)
    np.testing.assert_allclose(found.samples[100:-100] / 32_767, expected[100:-100], atol=2e-3)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, "is not a readable WAV file: Reached EOF prematurely"),
        (lambda path: path.write_bytes(b""), "is not a readable WAV file"),
        (lambda path: path.write_bytes(b"RIFF1234"), "is not a readable WAV file"),
        (lambda path: write(path, np.zeros(0, np.int16)), "must hold sound, got no samples"),
        (lambda path: write(path, np.float32([0, np.nan])), "must hold finite samples"),
    ],
)
def test_damaged_files_are_named(tmp_path, spoil, message):
    path = write(tmp_path / "a.wav", np.int16(WAVE * 32_767))
    spoil(path)
    with pytest.raises(data.DataError, match=rf"a\.wav {message}"):
        data.read_sound(path)


def test_no_path_and_no_file_are_told(tmp_path):
    with pytest.raises(TypeError, match="path must be the path of a WAV file, got 3"):
        data.read_sound(3)
    with pytest.raises(FileNotFoundError, match=r"b\.wav does not exist"):
        data.read_sound(tmp_path / "b.wav")


@pytest.mark.parametrize("length", [1, 3, 7, 8, 20])
def test_the_loudest_part_is_kept(length):
    sound = np.array([0, 1, -9, 8, 2, 0, 3], np.int16)
    found = fit_length(sound, length)
    assert len(found) == length
    energies = [np.square(np.int64(sound[at : at + length])).sum() for at in range(8 - length)]
    assert np.square(np.int64(found)).sum() == max(energies, default=np.square(sound).sum())


# --- folders --------------------------------------------------------------------------------------


def words(folder, names, words=("no", "yes")):
    """Short files, the amplitude of each by its place."""
    for label in words:
        for place, name in enumerate(names, start=1):
            write(folder / label / f"{name}.wav", np.full(40, 100 * place, np.int16), 800)


def test_splits_are_read(tmp_path):
    for split, names in {"train": "ab", "validation": "c", "test": "de"}.items():
        words(tmp_path / split, names)
    write(tmp_path / "train" / "_noise_" / "rain.wav")
    found = data.load_sounds(tmp_path, rate=800, seconds=0.1)
    assert found.class_names == ("no", "yes") and not found.notes
    assert [len(split) for split in found.splits.values()] == [4, 2, 4]
    train = found.splits["train"]
    assert train.labels.tolist() == [0, 0, 1, 1] and train.sounds.shape == (4, 80)
    assert train.sounds[:, 40].tolist() == [100, 200, 100, 200]
    assert (train.sounds[:, :20] == 0).all() and (train.sounds[:, 60:] == 0).all()


def test_other_rates_are_noted(tmp_path):
    words(tmp_path / "train", "a")
    words(tmp_path / "test", "b")
    found = data.load_sounds(tmp_path, rate=1600, seconds=0.1)
    (note,) = found.notes
    assert note == (
        "resampled to 1,600 Hz: a.wav from 800 Hz, a.wav from 800 Hz, b.wav from 800 Hz, b.wav "
        "from 800 Hz"
    )


def test_lists_of_speech_commands_are_read(tmp_path):
    words(tmp_path, "abc")
    (tmp_path / "testing_list.txt").write_text("no/a.wav\nyes/b.wav\n")
    (tmp_path / "validation_list.txt").write_text("no/b.wav\n")
    found = data.load_sounds(tmp_path, rate=800).splits
    sounds = {split: each.sounds.max(axis=1).tolist() for split, each in found.items()}
    assert sounds == {"train": [300, 100, 300], "validation": [200], "test": [100, 200]}


def test_speakers_are_held_out_with_all_their_files(tmp_path):
    names = [f"{speaker}_nohash_{take}" for speaker in "abcde" for take in range(3)]
    words(tmp_path, names)
    found = data.load_sounds(tmp_path, rate=800, test_share=0.4)
    assert "40% held out as test (seed 0)" in found.source
    speakers = {
        split: {(level // 100 - 1) // 3 for level in each.sounds.max(axis=1).tolist()}
        for split, each in found.splits.items()
    }
    assert len(speakers["test"]) == 2 and len(speakers["train"]) == 3
    assert not speakers["test"] & speakers["train"]


def only_tested(folder):
    words(folder / "train", "a")
    words(folder / "test", "a", ("no", "maybe"))


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (lambda folder: None, "must hold a folder of WAV files for each class, got none"),
        (lambda folder: words(folder, "ab", ("no",)), "must have sounds of at least two classes"),
        (
            only_tested,
            r"a\.wav must have a label that sounds for training have \(no, yes\), got 'm",
        ),
        (lambda folder: words(folder / "train", ""), "must hold a folder of WAV files for each"),
    ],
)
def test_folders_without_use_are_refused(tmp_path, fill, message):
    (tmp_path / "train").mkdir()
    if fill is not only_tested:
        (tmp_path / "train").rmdir()
    fill(tmp_path)
    with pytest.raises(data.DataError, match=message):
        data.load_sounds(tmp_path, rate=800)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0}, "seconds must be from 1 sample"),
        ({"test_share": 1}, "test_share must be above 0 and below 1, got 1"),
        ({"rate": 0}, "rate must be at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        data.load_sounds(tmp_path, **options)
    with pytest.raises(data.DataError, match="must be a folder with a folder of WAV files"):
        data.load_sounds(tmp_path / "nowhere")


def test_splits_of_other_arrays_are_refused():
    labels = np.zeros(2, np.int32)
    with pytest.raises(data.DataError, match="sounds must be int16 with 2 axes"):
        data.SoundSplit(np.zeros((3, 8), np.int16), labels)
    with pytest.raises(data.DataError, match="got float64"):
        data.SoundSplit(np.zeros((2, 8)), labels)
    split = data.SoundSplit(np.zeros((2, 8), np.int16), labels + 2)
    with pytest.raises(data.DataError, match=r"labels of toy/train must be 0 to 1, got 2 to 2"):
        data.SoundDataset("toy", {"train": split}, ("no", "yes"), source="here")
