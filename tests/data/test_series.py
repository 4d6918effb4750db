"""Files of time series, and those that are damaged or differ from their header."""

import numpy as np
import pytest

from dilax.data import DataError, SeriesDataset, SeriesSplit, load_time_series
from dilax.data._series_files import read_file

HEADER = "@problemName toy\n@timeStamps false\n@classLabel true still moving\n"
TWO = f"{HEADER}@univariate false\n@dimensions 2\n@equalLength false\n@data\n"
TRAIN = "1,2,3:4,5,6:still\n# a remark\n\n7,8:9,10:moving\n"
ONES = np.ones(2, np.int32)


def write(path, content):
    path.write_text(content)
    return path


def test_series_of_two_files_are_padded_with_their_lengths(tmp_path):
    write(tmp_path / "toy_TRAIN.ts", f"% a remark\n{TWO}{TRAIN}")
    write(tmp_path / "toy_TEST.ts", f"{TWO}1,1,1,-1e-1:2,2,2,2:moving\r\n")
    found = load_time_series(tmp_path)
    assert found.class_names == ("moving", "still") and found.channels == 2
    train, test = (found.splits[name] for name in ("train", "test"))
    expected = [[[1, 4], [2, 5], [3, 6], [0, 0]], [[7, 9], [8, 10], [0, 0], [0, 0]]]
    np.testing.assert_array_equal(train.series, np.array(expected, np.float32))
    assert train.lengths.tolist() == [3, 2] and train.labels.tolist() == [1, 0]
    assert test.series[0, 3].tolist() == [np.float32(-0.1), 2] and test.labels.tolist() == [0]
    assert train.take(np.array([1])).lengths.tolist() == [2]


def test_a_share_of_one_file_is_held_out(tmp_path):
    lines = "".join(f"{n},{n}:{('still', 'moving')[n % 2]}\n" for n in range(10))
    path = write(tmp_path / "toy.ts", f"{HEADER}@univariate true\n@data\n{lines}")
    found = load_time_series(path, test_share=0.3, seed=1)
    assert [len(found.splits[name]) for name in ("train", "test")] == [7, 3]
    values = np.concatenate([split.series[:, 0, 0] for split in found.splits.values()])
    assert sorted(values.tolist()) == list(range(10)) and "30% held out" in found.source
    assert found.fingerprint != load_time_series(path, test_share=0.3, seed=2).fingerprint


def test_series_to_be_answered_need_no_classes(tmp_path):
    path = write(tmp_path / "new.ts", "@univariate true\n@classLabel false\n@data\n1,2\n3\n")
    assert [one.values.tolist() for one in read_file(path, labelled=False)] == [[[1], [2]], [[3]]]
    with pytest.raises(DataError, match=r"new.ts must say @classLabel true and the names of the"):
        load_time_series(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"a.ts must have a line @data before its series, got 1 lines without"),
        (f"{HEADER}1,2:still\n", "a.ts, line 4, must begin with @, as all lines before @data, got"),
        (f"{HEADER}@data\n", "a.ts must have a time series in each line after @data, got none"),
        ("@timeStamps true\n", "line 1, must be @timeStamps false: values alone are read"),
        ("@univariate maybe\n", "line 1, must be @univariate true or @univariate false, got"),
        ("@dimensions 0\n", "line 1, must be @dimensions and a positive integer, got"),
        ("@targetLabel true\n", "must be @classLabel with classes, got numbers to predict"),
        ("@classLabel true a a\n", "line 1, must name each class once after @classLabel true"),
        (f"{HEADER}@data\n1,2\n", r"line 5, must end in a colon and one of the classes of @class"),
        (f"{HEADER}@data\n1:flying\n", r"one of the classes .*\(still, moving\), got 'flying'"),
        (f"{HEADER}@data\n1,?:still\n", r"line 5, must have finite numbers .* got '\?'; fill miss"),
        (f"{HEADER}@data\n1,1e99:still\n", "line 5, must have finite numbers .*, got '1e99'"),
        (f"{HEADER}@data\n1,x y:still\n", "finite numbers .*, got 'x y'; is it damaged?"),
        (f"{HEADER}@data\n1,2:3:still\n", "channels of one length, got 2, 1"),
        (f"{TWO}1,2:still\n", "line 8, must have 2 channels, as the header says, got 1"),
        (f"{HEADER}@data\n1:still\n1:1:still\n", "line 6, must have 1 channels, as the first"),
        (f"{HEADER}@equalLength true\n@data\n1:still\n1,2:still", "line 7, must have 1 values, as"),
        (
            f"{HEADER}@equalLength true\n@seriesLength 3\n@data\n1:still\n",
            "line 7, must have 3 values, as @seriesLength says, got 1",
        ),
    ],
)
def test_what_is_damaged_is_named_with_its_line(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        load_time_series(write(tmp_path / "a.ts", content))


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("1:1:still\n2:2:still\n", "1:1:still\n", "of at least two classes to train on, got still"),
        ("1:1:still\n2:2:moving\n", "1:still\n", r"test.ts, line 8, must have 2 channels"),
    ],
)
def test_splits_must_fit_together(tmp_path, train, test, message):
    write(tmp_path / "train.ts", f"{TWO}{train}")
    other = TWO.replace("@dimensions 2", "@missing false")
    write(tmp_path / "test.ts", f"{other}{test}")
    with pytest.raises(DataError, match=message):
        load_time_series(tmp_path)


def test_a_class_that_is_only_tested_is_refused(tmp_path):
    head = TWO.replace("still moving", "still moving flying")
    write(tmp_path / "train.ts", head + TRAIN)
    write(tmp_path / "test.ts", f"{head}1:1:flying\n")
    with pytest.raises(DataError, match=r"test.ts, line 8, must have a class .*got 'flying'"):
        load_time_series(tmp_path)
    write(tmp_path / "other_TEST.ts", head)
    with pytest.raises(DataError, match=r"must hold one set, got other_TEST.ts and test.ts"):
        load_time_series(tmp_path)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: load_time_series(3), TypeError, "path must be the path of a file or a folder"),
        (lambda: load_time_series("x", test_share=1), ValueError, "test_share must be above 0"),
        (lambda: load_time_series("nowhere"), DataError, "nowhere must be a .ts file, or a folder"),
        (lambda: read_file(__import__("pathlib").Path("x.csv")), DataError, "x.csv must be a .ts"),
    ],
)
def test_what_is_no_path_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"series": [[1.0]]}, TypeError, "series must be a NumPy array, got"),
        (
            {"series": np.zeros((2, 5))},
            DataError,
            r"series must be float32 \(N, T, channels\), got",
        ),
        ({"labels": np.ones(3, np.int32)}, DataError, "must be equally many, got 2, 2, 3"),
        ({"lengths": 6 * ONES}, DataError, "lengths must be 1 to 5, .* got 6 to 6"),
        ({"series": np.full((2, 5, 1), np.nan, np.float32)}, DataError, "series must be finite"),
    ],
)
def test_what_is_no_split_is_refused(changed, error, message):
    arrays = {"series": np.zeros((2, 5, 1), np.float32), "lengths": 5 * ONES, "labels": ONES}
    with pytest.raises(error, match=message):
        SeriesSplit(**{**arrays, **changed})


def test_what_is_no_data_set_is_refused():
    split = SeriesSplit(np.zeros((2, 5, 1), np.float32), 5 * ONES, ONES)
    wide = SeriesSplit(np.zeros((2, 5, 2), np.float32), 5 * ONES, ONES)
    for splits, names, message in [
        ({"train": split}, ("a",), "must have at least two classes, got a"),
        ({"train": SeriesSplit(split.series, 5 * ONES, 2 * ONES)}, ("a", "b"), "must be 0 to 1"),
        ({"train": split, "test": wide}, ("a", "b"), "must have the same channels, got"),
    ]:
        with pytest.raises(DataError, match=message):
            SeriesDataset("toy", splits, names, source="by hand")
