"""The program of spoken words: a run, its answers, words as they come, and the synthesiser."""

import functools
import json
import sys
import zipfile

import jax
import numpy as np
import pytest
import scipy.io.wavfile

from dilax import data
from tests.processes import ROOT

sys.path.insert(0, str(ROOT / "experiments"))
import fetch_data
import listen
import predict
import speech
from common import fetched, sounds, spoken_words

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

SMALL = ["--features", "4", "--kernel-size", "3", "--kernel-dilation", "1", "--bands", "8"]
QUICK = [
    *SMALL,
    "--batch-size",
    "8",
    "--epochs",
    "2",
    "--seconds",
    "0.2",
    "--learning-rate",
    "0.02",
]
TONES = {"high": 3000, "low": 300}
RATE = 16_000


def status(arguments):
    """The exit status, also where tyro ends the program."""
    try:
        return speech.main(arguments)
    except SystemExit as stop:
        return stop.code


def tone(name, length=1600):
    return np.int16(8000 * np.sin(2 * np.pi * TONES[name] * np.arange(length) / RATE))


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """A folder of two classes."""
    folder = tmp_path_factory.mktemp("tones")
    for split, count in {"train": 8, "test": 3}.items():
        for name in TONES:
            (folder / split / name).mkdir(parents=True)
            for place in range(count):
                path = folder / split / name / f"{place}.wav"
                scipy.io.wavfile.write(path, RATE, tone(name, 1600 + 100 * place))
    return folder


@pytest.fixture(scope="module")
def finished(tones, module_compiles_quickly):
    flags = [*QUICK, "--dataset", str(tones), "--validation", "4"]
    assert speech.main([*flags, "--output", str(tones / "run")]) == 0
    return tones / "run"


def test_a_run_leaves_a_folder_of_results(finished):
    summary = json.loads((finished / "summary.json").read_text())
    for name in ("accuracy", "loss", "accuracy_final", "accuracy_ema"):
        assert 0 <= summary[f"test_{name}"] < 5, name
    assert [(one["name"], one["sounds"]) for one in summary["classes"]] == [("high", 3), ("low", 3)]
    line = json.loads((finished / "metrics.jsonl").read_text().splitlines()[0])
    assert {"train_accuracy", "validation_accuracy"} <= line.keys()
    for name in ("learning_curves.png", "confusion_matrix.png", "heard.png", "heard.wav"):
        assert (finished / name).stat().st_size > 5_000


def test_a_finished_run_is_asked(finished, tones, tmp_path, capsys):
    scipy.io.wavfile.write(tmp_path / "other.wav", 8000, tone("low"))
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    paths = [str(tones / "test" / "high"), str(tmp_path)]
    assert predict.main([str(finished), *paths, "--csv", str(tmp_path / "a.csv")]) == 1
    out, err = capsys.readouterr()
    first, *_ = lines = [line.split() for line in out.splitlines()]
    assert first[0].endswith("0.wav") and len(lines) == 4
    assert {line[1] for line in lines} <= set(TONES) and first[2].endswith("%")
    assert "note: resampled to 16,000 Hz: other.wav from 8,000 Hz" in err
    assert "left out:" in err and "bad.wav is not a readable WAV file" in err
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 5
    assert predict.main([str(finished), paths[0], "--draw", str(tmp_path / "a.png")]) == 2
    assert "--draw must be left out with a network for sounds" in capsys.readouterr().err


def test_words_are_heard_as_they_come(finished, tmp_path, capsys):
    assert listen.main([str(finished), str(finished / "heard.wav")]) == 0
    *words, last = capsys.readouterr().out.splitlines()
    assert len(words) == 6 and {line.split()[2] for line in words} <= set(TONES)
    assert "steps of 20 ms: median" in last
    assert listen.main([str(finished), str(tmp_path / "nowhere.wav")]) == 2
    assert "nowhere.wav does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "nowhere"], "--dataset must be spoken_words or a folder of WAV files"),
        (["--dataset", "spoken_words"], "by: python experiments/fetch_data.py spoken_words"),
        (["--validation", "16"], "--validation must leave training sounds, got 16 of 16"),
        (["--evaluate", "best"], "--evaluate must be final or ema without held-out examples"),
        (["--noise", "-1"], "--noise must be 0 or more, got -1"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tones, tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.setenv("DILAX_CACHE", str(tmp_path / "cache"))
    output = tmp_path / "run"
    assert status([*QUICK, "--dataset", str(tones), *flags, "--output", str(output)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not output.exists()


# --- augmentation ---------------------------------------------------------------------------------


def test_shifted_sounds_are_moved_and_filled_with_silence():
    x = np.tile(np.arange(1, 9, dtype=np.float32), (50, 1))
    found = np.asarray(jax.jit(functools.partial(sounds.shift, most=2))(jax.random.key(0), x))
    moved = {tuple(row) for row in found.tolist()}
    padded = [0.0, 0.0, *range(1, 9), 0.0, 0.0]
    assert moved == {tuple(padded[start : start + 8]) for start in range(5)}


def test_levels_and_noise_stay_within_their_limits():
    change = jax.jit(functools.partial(sounds.change_level, decibels=20.0))
    found = np.asarray(change(jax.random.key(0), np.ones((200, 2), np.float32)))
    assert 0.1 <= found.min() < 0.2 and 5 < found.max() <= 10
    add = jax.jit(functools.partial(sounds.add_noise, loudest=0.01))
    noisy = add(jax.random.key(0), np.zeros((100, 500), np.float32))
    levels = np.asarray(noisy).std(axis=1)
    assert 1e-5 * 0.9 < levels.min() < 1e-4 and 3e-3 < levels.max() < 0.011


def test_hidden_frames_and_bands_are_runs():
    mask = jax.jit(functools.partial(sounds.mask, frames=3, bands=2))
    hidden = np.asarray(mask(jax.random.key(0), np.ones((300, 9, 7), np.float32))) == 0
    frames, bands = hidden.all(axis=2), hidden.all(axis=1)
    assert set(frames.sum(axis=1).tolist()) == {0, 1, 2, 3}
    assert set(bands.sum(axis=1).tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(hidden, frames[:, :, None] | bands[:, None])
    for runs in (frames, bands):
        assert (np.abs(np.diff(np.int32(runs), axis=1, prepend=0, append=0)).sum(axis=1) <= 2).all()


def test_a_word_is_told_once_after_a_pause():
    pauses = sounds.Pauses()
    loud = [0.0] * 10 + [0.5] * 20 + [0.001] * 30 + [0.5] * 2 + [0.0] * 30 + [0.1] * 10 + [0.0] * 9
    ends = [place for place, each in enumerate(loud, 1) if pauses.end_word(each, 0.02)]
    assert ends == [40]


# --- the synthesiser ------------------------------------------------------------------------------


def test_versions_of_a_voice_are_in_one_split():
    names = [f"voice{letter}{number}" for letter in "abcdefghij" for number in ("", "2", "3")]
    splits = spoken_words.split_voices(names)
    assert all(splits[name] == splits[name.rstrip("23")] for name in names)
    counts = {split: list(splits.values()).count(split) for split in splits.values()}
    assert counts == {"train": 18, "validation": 6, "test": 6}
    assert spoken_words.family("f1") == "f1"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Stands for ``pip`` and the library: a wheel with names of voices, and tones."""
    voices = [f"espeakng_loader/espeak-ng-data/voices/!v/{name}" for name in ("Al x", "bo", "cy")]

    def download(name, version, folder, form):
        path = folder / f"{name}-{version}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for voice in voices:
                archive.writestr(zipfile.ZipInfo(voice), "")
        return path

    class Tones:
        def __init__(self, package):
            assert (package / "espeak-ng-data").is_dir()

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def say(self, take):
            return np.full(take.speed, take.pitch, np.int16)

    monkeypatch.setattr(spoken_words, "download", download)
    monkeypatch.setattr(spoken_words, "Synthesiser", Tones)
    monkeypatch.setattr(spoken_words, "WORDS", ("no", "yes"))
    monkeypatch.setattr(spoken_words, "TAKES", 1)
    with zipfile.ZipFile(download("a", "1", tmp_path, "")) as archive:
        assert len(archive.namelist()) == 3
    return fetched.hashlib.sha256((tmp_path / "a-1.whl").read_bytes()).hexdigest()


def test_fetched_words_are_checked(package, tmp_path, monkeypatch, capsys):
    flags = ["spoken_words", "--cache-dir", str(tmp_path)]
    assert fetch_data.main(flags) == 1
    assert "the SHA-256 of espeakng-loader-0.2.4.whl must be 08721baf" in capsys.readouterr().err
    monkeypatch.setattr(spoken_words, "SHA256", {package: "here"})
    assert fetch_data.main(flags) == 0
    folder = tmp_path / "spoken_words"
    assert capsys.readouterr().out == f"wrote {folder}\n"
    monkeypatch.setenv("DILAX_CACHE", str(tmp_path))
    found = spoken_words.load()
    assert found.name == "spoken_words" and "synthetic" in found.source
    assert [len(split) for split in found.splits.values()] == [2, 2, 2]
    next(folder.glob("test/*/*.wav")).unlink()
    with pytest.raises(data.DataError, match="is damaged and was not used; replace it by: python"):
        spoken_words.load()


def test_a_library_that_cannot_be_loaded_is_told(tmp_path):
    with pytest.raises(data.DataError, match="the synthesiser cannot be loaded here"):
        spoken_words.Synthesiser(tmp_path)
