"""The program that finds the class of a video: a run, its folder, its answers, its clips."""

import functools
import json
import sys

import jax
import numpy as np
import pytest

from dilax import data, models
from tests.data.test_videos import write_set, write_video
from tests.processes import ROOT

sys.path.insert(0, str(ROOT / "experiments"))
import predict
import video
from common import videos

pytestmark = pytest.mark.usefixtures("module_compiles_quickly")

QUICK = ["--batch-size", "4", "--epochs", "1", "--learning-rate", "1e-3", "--test-clips", "10"]
QUICK += ["--frames", "3", "--size", "28", "--kernel-dilation", "1", "--clips", "12"]


def status(arguments):
    """The exit status, also where tyro ends the program."""
    try:
        return video.main(arguments)
    except SystemExit as stop:
        return stop.code


@pytest.fixture(scope="module")
def finished(tmp_path_factory, module_compiles_quickly):
    """The folder of a run on a few clips, with held-out ones."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    flags = [*QUICK, "--clips", "20", "--validation", "8", "--output", str(folder)]
    assert video.main(flags) == 0
    return folder


def test_a_run_leaves_a_folder_of_results(finished):
    summary = json.loads((finished / "summary.json").read_text())
    for name in ("accuracy", "loss", "accuracy_final", "accuracy_ema"):
        assert 0 <= summary[f"test_{name}"] < 5, name
    assert summary["dataset_source"].startswith("clips of 3 frames of 28x28 pixels, composed of")
    assert [one["name"] for one in summary["classes"]] == list(data.ACTIONS)
    assert sum(one["clips"] for one in summary["classes"]) == 10
    line = json.loads((finished / "metrics.jsonl").read_text().splitlines()[0])
    assert {"train_accuracy", "validation_accuracy", "examples_per_second"} <= line.keys()
    for name in ("learning_curves.png", "confusion_matrix.png", "clips.png"):
        assert (finished / name).stat().st_size > 5_000


def test_a_finished_run_is_asked(finished, tmp_path, capsys):
    model = models.load(finished)
    assert isinstance(model, models.TrainedVideoClassifier)
    assert model.class_names == data.ACTIONS
    path, short = write_video(tmp_path / "clip.mp4"), write_video(tmp_path / "short.mp4", 2)
    drawn, table = tmp_path / "drawn.png", tmp_path / "answers.csv"
    flags = ["--top", "2", "--draw", str(drawn), "--csv", str(table)]
    assert predict.main([str(finished), str(path), str(short), *flags]) == 1
    said = capsys.readouterr()
    assert said.out.split("  ")[0] == str(path) and said.out.split()[1] in data.ACTIONS
    assert len(said.out.splitlines()) == 1
    assert f"left out: {short} must have at least 3 frames" in said.err
    assert drawn.stat().st_size > 2_000
    assert table.read_text().startswith("picture,class,up,down,bounces")


@pytest.mark.long
def test_a_resumed_run_is_finished(finished):
    before = (finished / "metrics.jsonl").read_text()
    assert video.main(["--resume", "--output", str(finished)]) == 0
    assert (finished / "metrics.jsonl").read_text() == before


@pytest.mark.long
def test_a_folder_of_videos_is_learned(tmp_path):
    folder, output = write_set(tmp_path / "own", 10), tmp_path / "run"
    flags = ["--dataset", str(folder), "--no-pictures", "--factorised"]
    assert video.main([*QUICK, *flags, "--output", str(output)]) == 0
    summary = json.loads((output / "summary.json").read_text())
    assert [(one["name"], one["clips"]) for one in summary["classes"]] == [
        ("brighter", 2),
        ("dark", 2),
    ]
    model = models.load(output)
    assert model.preparation.image_shape == (28, 28, 3) and model.preparation.frames == 3
    assert model.description.options["factorised"] is True


@pytest.mark.long
def test_motion_is_learned_and_one_frame_does_not_tell_it(tmp_path):
    """From a few clips: far above chance, and, of one frame, not."""
    found = {}
    for name, epochs in {"video_dsdc": "8", "video_frame": "8"}.items():
        output = tmp_path / name
        flags = ["--model", name, "--epochs", epochs, "--clips", "1500", "--test-clips", "300"]
        assert video.main([*flags, "--no-pictures", "--output", str(output)]) == 0
        found[name] = json.loads((output / "summary.json").read_text())["test_accuracy"]
    assert found["video_dsdc"] > 0.6 and found["video_frame"] < 0.2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "nowhere"], "--dataset must be digits, or a folder with train/CLASS/NAME"),
        (["--clips", "0"], "--clips must be at least 1, got 0"),
        (["--validation", "12"], "--validation must leave training images"),
        (["--size", "20"], "size must be at least 28, got 20"),
        (["--shift", "28"], "--shift must be 0 or more, and below 28"),
        (["--model", "video_frame", "--factorised"], "factorised must be False for a network"),
        (["--model", "mnist_dsdc"], "options of mnist_dsdc must be among"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path, capsys, flags, message):
    output = tmp_path / "run"
    assert status([*QUICK, *flags, "--output", str(output)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not output.exists()


def test_a_video_that_cannot_be_used_is_one_clear_line(tmp_path, capsys):
    folder = write_set(tmp_path / "own", 2)
    (folder / "dark/0.mp4").write_bytes(b"damaged")
    assert status([*QUICK, "--dataset", str(folder), "--output", str(tmp_path / "run")]) == 2
    assert "dark/0.mp4 cannot be read as a video" in " ".join(capsys.readouterr().err.split())


# --- moving and drawing ---------------------------------------------------------------------------


def test_clips_of_digits_move_round_as_a_whole():
    clips = np.random.default_rng(0).integers(0, 256, (6, 2, 5, 4, 1), dtype=np.uint8)
    moved = np.asarray(jax.jit(videos.roll)(jax.random.key(0), clips))
    found = set()
    for before, after in zip(clips, moved, strict=True):
        by = [
            (down, right)
            for down in range(5)
            for right in range(4)
            if (np.roll(before, (down, right), (1, 2)) == after).all()
        ]
        assert len(by) == 1
        found.add(by[0])
    assert len(found) > 2


def test_clips_of_a_folder_are_shifted_as_a_whole():
    clips = np.full((20, 3, 6, 5, 1), 255, np.uint8)
    shift = jax.jit(functools.partial(videos.shift, pixels=2))
    moved = np.asarray(shift(jax.random.key(0), clips))
    assert set(np.unique(moved)) == {0.0, 1.0}
    np.testing.assert_array_equal(moved, moved[:, :1].repeat(3, axis=1))
    assert len({one.tobytes() for one in moved}) > 5


def test_a_strip_has_frames_side_by_side():
    clip = np.arange(24, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    strip = videos.strip(clip)
    assert strip.shape == (2, 12 * 4, 1)
    assert strip[0, ::4, 0].tolist()[::11] == [0, 23] and (strip[:, 3::4] == videos.LINE).all()
    assert videos.strip(clip[:2]).shape == (2, 8, 1)
