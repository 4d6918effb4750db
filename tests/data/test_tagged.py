"""Files of one word and its label in each line, damaged ones included."""

import pytest

from dilax.data import DataError, TaggedTexts, load_tagged


def test_texts_end_at_empty_lines(tmp_path):
    file = tmp_path / "train.conll"
    content = "-DOCSTART- -X- O\n\n5 CD B-number\nMain NN B-street\r\n# a remark\n\n\nÉire\tB-place"
    file.write_bytes(b"\xef\xbb\xbf" + content.encode())
    found = load_tagged(file)
    assert found.words == (("5", "Main"), ("Éire",))
    assert found.labels == (("B-number", "B-street"), ("B-place",))
    assert found.take([1]).words == (("Éire",),) and len(found) == 2
    assert found.fingerprint != found.take([1]).fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n\n", "a.conll must have a word and its label in each line, got no word"),
        (b"x A\n\ny\n", "a.conll, line 3, must have a word and its label, got 'y'"),
        (b"x A\n\xe9 B\n", "a.conll, line 2, must be UTF-8, got byte 0xe9"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path, content, message):
    (tmp_path / "a.conll").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_tagged(tmp_path / "a.conll")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: load_tagged("nowhere"), DataError, "nowhere must be a file with a word and its"),
        (lambda: load_tagged(3), TypeError, "path must be the path of a file, got 3"),
        (lambda: TaggedTexts(((),), ((),)), DataError, "each text must have a word, and a label"),
        (lambda: TaggedTexts((("a",),), (("b", "c"),)), DataError, "a label for each word"),
        (lambda: TaggedTexts(((1,),), (("b",),)), TypeError, "words must be texts, got 1"),
        (lambda: TaggedTexts(("ab",), (("b",),)), TypeError, "each of words must be a sequence"),
    ],
)
def test_what_is_no_labelled_text_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
