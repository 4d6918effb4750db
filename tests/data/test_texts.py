"""Texts: their words, their numbers, and files of labelled texts, damaged ones included."""

import pickle

import numpy as np
import pytest

from dilax.data import DataError, TextDataset, TextSplit, Vocabulary, load_texts, tokenize

LINES = [("A fine film.", "good"), ("Dull, and too long", "bad"), ('"So, so"', "bad")] * 4


def write_tsv(path, lines=LINES):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{text}\t{label}\n" for text, label in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop!", ["don't", "stop", "!"]),
        ("the Smiths' 8/10", ["the", "smiths", "'", "8", "/", "10"]),
        ("Ünïcode 日本。 🙂", ["ünïcode", "日本", "。", "🙂"]),
        (" \n\t", []),
    ],
)
def test_words(text, words):
    assert tokenize(text) == words


def test_characters():
    assert tokenize(" Ab \n c", unit="characters") == ["a", "b", " ", "c"]


def test_a_vocabulary_numbers_words_by_how_often_they_occur():
    texts = ["b b b a a c", "c a d"]
    vocabulary = Vocabulary.of_texts(texts)
    assert vocabulary.words == ("a", "b", "c", "d") and len(vocabulary) == 6
    assert Vocabulary.of_texts(texts, most=2).words == ("a", "b")
    assert Vocabulary.of_texts(texts, least_count=2).words == ("a", "b", "c")
    encoded = vocabulary.encode(["d E a", ""], length=2)
    assert encoded.dtype == np.int32 and encoded.tolist() == [[5, 1], [0, 0]]
    assert vocabulary.encode([]).shape == (0, 1)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Vocabulary(words=("a", "a")), ValueError, "words must differ, got 'a' twice"),
        (lambda: Vocabulary(words="ab"), TypeError, "words must be a sequence of texts"),
        (lambda: Vocabulary(words=(1,)), TypeError, "words must be texts, got 1"),
        (lambda: Vocabulary(words=(), unit="lines"), ValueError, "unit must be words or charac"),
        (lambda: Vocabulary.of_texts(["a"], most=0), ValueError, "most must be at least 1"),
        (lambda: Vocabulary.of_texts([3]), TypeError, "text must be a str, got 3"),
    ],
)
def test_an_impossible_vocabulary_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_each_kind_of_file_says_the_same(tmp_path):
    found = load_texts(write_tsv(tmp_path / "one.tsv"))
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 10, "test": 2}
    assert found.class_names == ("bad", "good")
    assert found.source.endswith("one.tsv, 20% held out as test (seed 0)")
    rows = [
        f'7,"{text.replace(chr(34), chr(34) * 2)}",{label}\r\n'.encode() for text, label in LINES
    ]
    (tmp_path / "one.csv").write_bytes(b"\xef\xbb\xbfid,Text,label\r\n" + b"".join(rows))
    objects = [
        f'{{"label": "{label}", "text": {text!r}}}'.replace("'", '"') for text, label in LINES
    ]
    objects = [line.replace('""So, so""', '"\\"So, so\\""') for line in objects]
    (tmp_path / "one.jsonl").write_text("\n\n".join(objects))
    for name in ("one.csv", "one.jsonl"):
        assert load_texts(tmp_path / name).fingerprint == found.fingerprint, name
    assert pickle.loads(pickle.dumps(found)).fingerprint == found.fingerprint
    other = load_texts(tmp_path / "one.csv", seed=1, test_share=0.5)
    assert len(other.splits["test"]) == 6 and other.fingerprint != found.fingerprint


def test_a_folder_of_files_and_one_of_classes(tmp_path):
    write_tsv(tmp_path / "files" / "train.tsv")
    write_tsv(tmp_path / "files" / "test.tsv", LINES[:2])
    splits = load_texts(tmp_path / "files").splits
    assert len(splits["train"]) == 12 and splits["test"].labels.tolist() == [1, 0]
    for split in ("train", "test"):
        for place, (text, label) in enumerate(LINES):
            file = tmp_path / "classes" / split / label / f"{place}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    found = load_texts(tmp_path / "classes")
    assert found.class_names == ("bad", "good") and len(found.splits["test"]) == 12
    assert len(load_texts(tmp_path / "classes" / "train").splits["train"]) == 10


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", b"", "a.tsv must have a text and its label in each line, got no line"),
        ("a.tsv", b"x\ty\n\nx\n", "a.tsv, line 3, must have 2 columns, got 1"),
        ("a.tsv", b"x\ty\n \ty\n", "a.tsv, line 2, must have a text, got an empty one"),
        ("a.tsv", b"x\ty\nz\t\n", "a.tsv, line 2, must have a label, got an empty one"),
        ("a.tsv", b"x\ty\nz\ty\nw\ty\n", "a.tsv must have texts of at least two classes.*got y"),
        ("a.tsv", b"x\ty\n\xe9\tz\n", "a.tsv, line 2, must be UTF-8, got byte 0xe9; convert"),
        ("a.tsv", b"x\ty\n", "must hold at least two texts"),
        ("a.csv", b'x,y\n"z,y\n', "a.csv, line 2, must be CSV.*quotation mark"),
        ("a.csv", b"x,y\nz,y,w\n", "a.csv, line 2, must have 2 columns, got 3"),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"text": 1}\n', "a.jsonl, line 2, must be a JSON"),
        ("a.jsonl", b'{"text": 5, "label": 1}\n', "line 1, must have a string as text"),
        ("a.jsonl", b"[" * 99_999, "line 1, must be a JSON object"),
        ("a.doc", b"x", "a.doc must end in .tsv, .csv, .jsonl, got .doc"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_texts(tmp_path / name)


def test_a_folder_that_cannot_be_learned_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere must be a file .* or a folder, got neither"):
        load_texts(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"must hold train.tsv .*, got neither"):
        load_texts(tmp_path)
    write_tsv(tmp_path / "train.tsv")
    write_tsv(tmp_path / "test.tsv", [("x", "good"), ("y", "fair")])
    with pytest.raises(DataError, match=r"test.tsv, line 2, must have a label .*bad, good.*'fair'"):
        load_texts(tmp_path)
    for label in ("a", "b"):
        (tmp_path / "classes" / label).mkdir(parents=True)
        (tmp_path / "classes" / label / "1.txt").write_text("" if label == "b" else "text")
    with pytest.raises(DataError, match=r"1.txt must have a text, got an empty file"):
        load_texts(tmp_path / "classes")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"path": 3}, TypeError, "path must be the path of a file or a folder, got 3"),
        ({"path": "a", "test_share": 1.0}, ValueError, "test_share must be above 0 and below 1"),
    ],
)
def test_malformed_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        load_texts(**arguments)


def test_what_does_not_fit_together_is_refused():
    labels = np.array([0, 2], np.int32)
    split = TextSplit(("x", "y"), labels)
    with pytest.raises(DataError, match=r"labels of toy/train must be 0 to 1, got 0 to 2"):
        TextDataset("toy", {"train": split}, ("a", "b"), source="here")
    with pytest.raises(DataError, match="toy must have at least two classes, got a"):
        TextDataset("toy", {}, ("a",), source="here")
    with pytest.raises(DataError, match=r"labels must be int32 \(1,\), one for each text"):
        TextSplit(("x",), labels)
    with pytest.raises(TypeError, match="texts must be texts, got 3"):
        TextSplit(("x", 3), labels)
