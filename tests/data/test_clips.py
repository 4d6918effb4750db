"""Clips of digits that move: what each action does, and that one frame says nothing of it."""

import numpy as np
import pytest
import scipy.stats

from dilax import data
from dilax.data import ACTIONS, DataError, VideoSplit, _clips

REVERSED = {"up": "down", "left": "right", "clockwise": "anticlockwise", "grows": "shrinks"}


@pytest.fixture(scope="module")
def digits():
    return data.load("mnist").splits["test"]


@pytest.fixture(scope="module")
def clips(digits):
    return data.compose_clips(digits, 20, seed=3)


@pytest.mark.parametrize("action", ACTIONS)
def test_each_frame_has_the_same_distribution_in_all_classes(action):
    """Each part of a pose is even on its circle, at any time, and independent of the others."""
    rng = np.random.default_rng(ACTIONS.index(action))
    poses = np.stack([_clips.draw_poses(rng, _clips.MOTIONS[action], 5) for _ in range(600)])
    for frame in (0, 2, 4):
        for part in range(4):
            assert scipy.stats.kstest(poses[:, frame, part], "uniform").pvalue > 1e-4
        phases = np.exp(2j * np.pi * poses[:, frame])
        together = abs(np.mean(phases[:, :, None] * phases[:, None].conj(), axis=0))
        assert (together[~np.eye(4, dtype=bool)] < 0.17).all()  # 4 deviations of a mean of 600


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_moves_one_part_of_the_pose(action):
    motion = _clips.MOTIONS[action]
    for seed in range(20):
        poses = _clips.draw_poses(np.random.default_rng(seed), motion, 12)
        steps = (np.diff(poses, axis=0) + 0.5) % 1 - 0.5
        still = np.delete(steps, motion.part, axis=1)
        np.testing.assert_allclose(still, 0, atol=1e-12)
        moved = steps[:, motion.part]
        if motion.direction:
            np.testing.assert_allclose(moved, moved[0], atol=1e-9)
            assert 0.3 <= motion.direction * moved.sum() <= 0.6
        else:
            assert (np.diff(np.sign(moved[abs(moved) > 1e-9])) != 0).sum() in (1, 2)
            assert moved.min() < 0 < moved.max()


def pose(row=0.5, column=0.5, angle=0.0, size=1 - 1e-12):
    return np.array([[row, column, angle, size]])


def test_a_pose_is_drawn_where_it_says(digits):
    """At full size, in the middle, a digit is itself; a turn and a step are those of NumPy."""
    digit = digits.images[0, ..., 0].astype(float)
    plain = _clips.render(digit, pose(), 32)[0]
    np.testing.assert_allclose(plain[2:30, 2:30], digit, atol=0.01)
    assert not plain[:2].any() and not plain[:, 30:].any()
    clockwise = _clips.render(digit, pose(angle=0.25), 32)[0]
    np.testing.assert_allclose(clockwise, np.rot90(plain, -1), atol=0.01)
    moved = _clips.render(digit, pose(row=0.5 + 20 / 32, column=0.5 - 9 / 32), 32)[0]
    np.testing.assert_allclose(moved, np.roll(plain, (20, -9), (0, 1)), atol=0.01)
    half = _clips.render(digit, pose(size=0.0), 32)[0]
    np.testing.assert_allclose(
        half[9:23, 9:23], digit.reshape(14, 2, 14, 2).mean(axis=(1, 3)), atol=0.5
    )


def test_grown_digits_are_larger(digits):
    """By half of the circle, from one half to the square root of it: twice the ink."""
    digit = digits.images[0, ..., 0].astype(float)
    poses = np.concatenate([pose(row=0.51, size=size) for size in (0.0, 0.5)])
    small, large = _clips.render(digit, poses, 32).sum(axis=(1, 2))
    assert large / small == pytest.approx(2, rel=0.05)


def test_opposite_actions_are_each_other_backwards():
    for forth, back in REVERSED.items():
        one, other = _clips.MOTIONS[forth], _clips.MOTIONS[back]
        assert one.part == other.part and one.direction == -other.direction != 0
    others = set(ACTIONS) - set(REVERSED) - set(REVERSED.values())
    assert {_clips.MOTIONS[name].direction for name in others} == {0}
    assert _clips.MOTIONS["down"].direction == _clips.MOTIONS["right"].direction == 1


def test_a_clip_depends_on_its_place_and_the_seed_alone(digits, clips):
    assert clips.clips.shape == (20, 12, 32, 32, 1) and len(clips) == 20
    few = data.compose_clips(digits, 3, seed=3)
    np.testing.assert_array_equal(few.clips, clips.clips[:3])
    np.testing.assert_array_equal(few.labels, clips.labels[:3])
    assert (data.compose_clips(digits, 3, seed=4).clips != few.clips).any()
    assert clips.clips.max(axis=(1, 2, 3, 4)).min() > 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": -1}, "count must be at least 0, got -1"),
        ({"size": 27}, "size must be at least 28, got 27"),
        ({"frames": 1}, "frames must be at least 2, got 1"),
        ({"digits": None}, "digits must be"),
        ({"count": 1_000_000, "size": 1024}, "1000000 clips must be at most"),
    ],
)
def test_impossible_clips_are_refused(digits, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        data.compose_clips(**{"digits": digits, "count": 1} | options)


def test_arrays_are_checked():
    clips = np.zeros((2, 4, 8, 8, 1), np.uint8)
    with pytest.raises(DataError, match=r"clips must be uint8 \(N, T, H, W, C\) and labels int32"):
        VideoSplit(clips, np.zeros(3, np.int32))
    with pytest.raises(DataError, match="labels int32"):
        VideoSplit(clips, np.zeros(2, np.int64))
    with pytest.raises(TypeError, match="labels must be"):
        VideoSplit(clips, [0, 1])
