"""Videos and folders of frames: which frames are taken, which files are found, what is refused."""

import sys

import numpy as np
import pytest
from PIL import Image

from dilax import data
from dilax.data import DataError, PictureOptions, load_videos
from dilax.data._videos import evenly, find_clips, read_clip

av = pytest.importorskip("av")
PICTURES = PictureOptions(size=8, channels=1)
FORM = {"size": (8, 8), "channels": 1}


def write_video(path, count=20, *, step=10, size=(32, 48), noise=1, turned=0):
    """A video whose frames have the brightness ``step`` times their number, and noise."""
    random = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        if turned:
            stream.set_display_rotation(turned)
        for number in range(count):
            frame = random.integers(step * number, step * number + noise, (*size, 3), np.uint8)
            if turned:
                frame[: size[0] // 2] = 250  # bright at the top
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return path


def write_frames(folder, count=20, step=10):
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.full((9, 12), step * number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


def write_set(folder, count=3, **options):
    """Videos of two classes, of which one becomes brighter and one stays dark."""
    for number in range(count):
        write_video(folder / "brighter" / f"{number}.mp4", **options)
        write_video(folder / "dark" / f"{number}.mp4", **{**options, "step": 0})
    return folder


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "frames"])
def test_frames_are_taken_evenly(tmp_path, name):
    path = tmp_path / name
    (write_video if path.suffix else write_frames)(path)
    found = read_clip(path, frames=5, **FORM)
    assert found.shape == (5, 8, 8, 1) and found.dtype == np.uint8
    np.testing.assert_allclose(found[:, 4, 4, 0], 10 * np.array([2, 6, 10, 14, 18]), atol=5)
    colours = read_clip(path, frames=20, size=(6, 7), channels=3)
    assert colours.shape == (20, 6, 7, 3)
    np.testing.assert_allclose(colours[:, 3, 3], 10 * np.arange(20)[:, None].repeat(3, 1), atol=7)


@pytest.mark.skipif(
    not hasattr(av.video.stream.VideoStream, "set_display_rotation"), reason="an older PyAV"
)
@pytest.mark.parametrize(("turned", "bright"), [(90, np.s_[:, :6]), (-90, np.s_[:, -6:])])
def test_a_turned_video_is_upright(tmp_path, turned, bright):
    """Counterclockwise by a quarter, the top of a frame is on the left."""
    path = write_video(tmp_path / "a.mp4", 2, step=0, turned=turned)
    (frame,) = read_clip(path, frames=1, size=(24, 16), channels=1)
    assert (frame[bright] > 200).all() and (frame > 128).mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("count", "frames"), [(7, 7), (30, 4), (1, 1), (11, 10)])
def test_places_are_the_middles_of_equal_parts(count, frames):
    expected = np.floor((np.arange(frames) + 0.5) * count / frames)
    assert evenly(count, frames) == expected.tolist()


def test_videos_and_folders_of_frames_are_found(tmp_path):
    for name in ("a.mp4", "b/c.MOV", "b/notes.txt", ".hidden/d.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    write_frames(tmp_path / "b/frames", 1)
    found = find_clips([tmp_path])
    assert [each.relative_to(tmp_path).as_posix() for each in found] == [
        "a.mp4",
        "b/c.MOV",
        "b/frames",
    ]
    assert find_clips([tmp_path / "b/frames"]) == [tmp_path / "b/frames"]
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; give a video, or a"):
        find_clips([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty must hold videos \(.*\), got none"):
        find_clips([tmp_path / "empty"])


def test_a_folder_of_videos_is_a_data_set(tmp_path):
    folder = write_set(tmp_path / "own", 4)
    write_frames(folder / "dark/frames", step=0)
    (folder / "notes.txt").touch()
    found = load_videos(folder, frames=4, pictures=PICTURES)
    assert found.class_names == ("brighter", "dark")
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 7, "test": 2}
    for split in found.splits.values():
        change = split.clips[:, -1].astype(int) - split.clips[:, 0]
        np.testing.assert_array_equal(change.max(axis=(1, 2, 3)) < 9, split.labels == 1)
    assert "4 frames of each video" in found.source and "20% of each class held out" in found.source
    assert found.notes == (f"left out of {folder}, for they are no videos in a folder of a class: "
                           "notes.txt",)  # fmt: skip


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def only_tested(folder):
    write_set(folder / "test", 1)
    write_video(folder / "train/brighter/0.mp4")
    write_video(folder / "train/other/0.mp4")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: cut(f / "dark/1.avi", 0.5), "dark/1.avi is cut short: it announces 20 frames"),
        (lambda f: cut(f / "dark/1.mp4", 0.5), "dark/1.mp4 (cannot be read as|must have pic)"),
        (lambda f: cut(f / "dark/1.mp4", 0), "dark/1.mp4 cannot be read as a video"),
        (lambda f: write_video(f / "dark/1.mp4", 3), "1.mp4 must have at least 4 frames, .* got 3"),
        (lambda f: write_frames(f / "dark/few", 3), "dark/few must have at least 4 frames"),
        (lambda f: (f / "empty").mkdir(), "must hold videos .*, got none in empty"),
        (only_tested, "train must have a folder for each class of the other splits, .* for dark"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(tmp_path, spoil, message):
    if spoil is not only_tested:
        write_set(tmp_path, 2)
    if "avi" in message:
        write_video(tmp_path / "dark/1.avi", step=0, noise=256)
    spoil(tmp_path)
    with pytest.raises(DataError, match=message):
        load_videos(tmp_path, frames=4, pictures=PICTURES)


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        stream = file.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.rate = 8000
        file.mux(stream.encode(sound))
        file.mux(stream.encode())
    with pytest.raises(DataError, match=r"a\.mp4 must have pictures, got none"):
        read_clip(tmp_path / "a.mp4", frames=2, **FORM)


def test_without_its_library_videos_are_refused_and_frames_are_read(tmp_path, monkeypatch):
    path, frames = write_video(tmp_path / "a.mp4"), write_frames(tmp_path / "frames")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r'PyAV must be installed .* "dilax-jax\[video\]"'):
        read_clip(path, frames=2, **FORM)
    assert read_clip(frames, frames=2, **FORM).shape == (2, 8, 8, 1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"frames": 0}, ValueError, "frames must be at least 1, got 0"),
        ({"pictures": PictureOptions()}, ValueError, "pictures must have a size, got None"),
        ({"pictures": 8}, TypeError, "pictures must be a PictureOptions"),
        ({"path": "nowhere"}, DataError, "nowhere must be a folder with a folder for each class"),
    ],
)
def test_impossible_options_are_refused(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        data.load_videos(**{"path": tmp_path, "frames": 4, "pictures": PICTURES} | options)
