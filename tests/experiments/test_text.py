"""The program that finds the class of a text: a run, its folder, its answers, its data."""

import io
import json
import sys
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dilax import data, models
from tests.processes import ROOT

sys.path.insert(0, str(ROOT / "experiments"))
import fetch_data
import predict
import text
from common import fetched, packages, sentences, texts

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

SMALL = ["--features", "8", "--kernel-dilation", "1", "--least-count", "1"]
QUICK = [*SMALL, "--batch-size", "8", "--epochs", "2", "--learning-rate", "1e-2"]
GOOD, BAD = ["good", "fine", "warm", "great"], ["bad", "dull", "cold", "poor"]


def status(arguments):
    """The exit status, also where tyro ends the program."""
    try:
        return text.main(arguments)
    except SystemExit as stop:
        return stop.code


def write_lines(path, count):
    """Texts of a few words, one of which says the class."""
    random = np.random.default_rng(0)
    lines = []
    for place in range(count):
        words = [*random.choice(["a", "film", "the", "plot"], 4), (GOOD, BAD)[place % 2][place % 4]]
        lines.append(f"{' '.join(random.permutation(words))}\t{('good', 'bad')[place % 2]}\n")
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, module_compiles_quickly):
    """The folder of a run on a few texts, with held-out ones."""
    folder = tmp_path_factory.mktemp("runs")
    lines = write_lines(folder / "lines.tsv", 100)
    flags = [*QUICK, "--dataset", str(lines), "--validation", "16", "--output", str(folder / "run")]
    assert text.main(flags) == 0
    return folder / "run"


def test_a_run_leaves_a_folder_of_results(finished):
    summary = json.loads((finished / "summary.json").read_text())
    for name in ("accuracy", "loss", "accuracy_final", "accuracy_ema"):
        assert 0 <= summary[f"test_{name}"] < 5, name
    assert summary["dataset"] == "lines" and "20% held out as test" in summary["dataset_source"]
    assert [(one["name"], one["texts"]) for one in summary["classes"]] == [
        ("bad", 10),
        ("good", 10),
    ]
    line = json.loads((finished / "metrics.jsonl").read_text().splitlines()[0])
    assert {"train_accuracy", "validation_accuracy"} <= line.keys()
    for name in ("learning_curves.png", "confusion_matrix.png", "words.png"):
        assert (finished / name).stat().st_size > 5_000


def test_a_finished_run_is_asked(finished, capsys):
    model = models.load(finished)
    assert isinstance(model, models.TrainedTextClassifier)
    assert model.class_names == ("bad", "good")
    assert predict.main([str(finished), "A warm film.", "dull", "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "A warm film." and lines[3] == "dull" and len(lines) == 6
    assert lines[1].startswith(f"  {model.predict('A warm film.').classes[0]} ")
    assert lines[2].startswith("  words: ") and "warm" in lines[2]


def test_what_cannot_be_asked_is_one_clear_line(finished, tmp_path, capsys):
    assert predict.main([str(finished), "warm", "--csv", str(tmp_path / "a.csv")]) == 2
    assert "--csv must be left out with a network for texts" in capsys.readouterr().err
    assert predict.main([str(finished), " "]) == 2
    assert "must have a word, got an empty text" in capsys.readouterr().err


def test_a_resumed_run_is_finished(finished):
    before = (finished / "metrics.jsonl").read_text()
    assert text.main(["--resume", "--output", str(finished)]) == 0
    assert (finished / "metrics.jsonl").read_text() == before


@pytest.mark.long
def test_several_seeds_of_a_split_with_validation(tmp_path, capsys):
    for split, count in {"train": 32, "validation": 8, "test": 8}.items():
        write_lines(tmp_path / f"{split}.tsv", count)
    flags = ["--dataset", str(tmp_path), "--no-pictures", "--no-baseline", "--seeds", "2"]
    flags += ["--evaluate", "best", "--pooling", "mean"]
    assert text.main([*QUICK, *flags, "--output", str(tmp_path / "run")]) == 0
    assert "mean of 2 seeds" in capsys.readouterr().out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "test_baseline_accuracy" not in summary and summary["classes"][0]["texts"] == 4


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "nowhere"], "--dataset must be sentences, a file (.tsv, .csv, .jsonl) or a"),
        (["--dataset", "sentences"], "fetch it by: python experiments/fetch_data.py sentences"),
        (["--validation", "80"], "--validation must leave training texts, got 80 of 80"),
        (["--evaluate", "best"], "--evaluate must be final or ema without held-out examples"),
        (["--dropout", "1"], "--dropout must be at least 0 and below 1, got 1"),
        (["--model", "mnist_dsdc"], "options of mnist_dsdc must be among"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.setenv("DILAX_CACHE", str(tmp_path / "cache"))
    lines, output = write_lines(tmp_path / "lines.tsv", 100), tmp_path / "run"
    assert status([*QUICK, "--dataset", str(lines), *flags, "--output", str(output)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not output.exists()


def test_dropped_words_become_unknown_and_padding_stays():
    words = jnp.tile(jnp.array([[5, 6, 7, 0, 0]]), (200, 1))
    found = np.asarray(texts.drop_words(jax.random.key(0), words, share=0.3))
    assert (found[:, 3:] == 0).all()
    assert set(found[:, 0].tolist()) == {1, 5}
    assert 0.2 < (found[:, :3] == 1).mean() < 0.4


def test_the_baseline_learns_words_that_say_the_class(tmp_path):
    pytest.importorskip("sklearn")
    splits = data.load_texts(write_lines(tmp_path / "lines.tsv", 100)).splits
    assert texts.baseline_accuracy(splits["train"], splits["test"]) == 1


def test_without_its_library_the_baseline_is_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    splits = data.load_texts(write_lines(tmp_path / "lines.tsv", 100)).splits
    assert texts.baseline_accuracy(splits["train"], splits["test"]) is None
    assert 'the baseline needs scikit-learn (pip install "dilax-jax[text]")' in (
        capsys.readouterr().err
    )


# --- the sentences --------------------------------------------------------------------------------

RATED = b"1\t2.5\tA fine film.\r\n2\t-0.4\tNeither\r\n3\t-3\tDull \r\n4\t0.5\tWarm\r\n"


def tar_of(name, content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_sentences_near_to_neither_are_left_out(monkeypatch):
    monkeypatch.setattr(sentences, "TESTED", 1)
    found = sentences.split_lines(RATED)
    lines = sorted(line for split in found.values() for line in split[1:])
    assert lines == ["A fine film.\tpositive\n", "Dull\tnegative\n", "Warm\tpositive\n"]
    assert [len(found[split]) for split in ("train", "test")] == [3, 2]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Stands for ``pip``: writes a package of a few sentences."""
    inner = tar_of(sentences.FILE, RATED)

    def download(name, version, folder):
        path = folder / f"{name}-{version}.tar.gz"
        path.write_bytes(tar_of(f"{name}-{version}/{sentences.ARCHIVE}", inner))
        return path

    monkeypatch.setattr(sentences, "download", download)
    monkeypatch.setattr(sentences, "TESTED", 1)


def test_fetched_sentences_are_checked(package, tmp_path, monkeypatch, capsys):
    flags = ["sentences", "--cache-dir", str(tmp_path)]
    assert fetch_data.main(flags) == 1
    assert f"SHA-256 of {sentences.FILE} must be c8293b" in capsys.readouterr().err
    monkeypatch.setattr(sentences, "SHA256", fetched.hashlib.sha256(RATED).hexdigest())
    assert fetch_data.main(flags) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'sentences'}\n"
    monkeypatch.setenv("DILAX_CACHE", str(tmp_path))
    with pytest.raises(data.DataError, match="is damaged and was not used; replace it by: python"):
        sentences.load()
    found = data.load_texts(tmp_path / "sentences")
    monkeypatch.setattr(sentences, "FINGERPRINT", found.fingerprint)
    assert sentences.load().splits["train"].texts == found.splits["train"].texts


def test_a_damaged_package_and_a_failing_pip_are_told(tmp_path, monkeypatch):
    path = tmp_path / "package.tar.gz"
    path.write_bytes(tar_of("package/other.txt", b"text"))
    with pytest.raises(data.DataError, match=r"package.tar.gz is damaged; try again.*must hold"):
        sentences.extract(path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    with pytest.raises(data.DataError, match=r"pip download vadersentiment==3.3.2 failed"):
        packages.download(*sentences.PACKAGE, tmp_path)
