"""Data sets and augmentation of malformed arguments."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from safetensors.numpy import save_file

from dilax import data
from dilax.data import augment
from tests.data import mel
from tests.malformed import values
from tests.malformed.answers import floats
from tests.malformed.calls import Call, answered

pytestmark = pytest.mark.usefixtures("compile_quickly")

KEYS = values.nothing() | st.sampled_from([np.zeros(3), jax.random.split(jax.random.key(0))])


def form_of(function: Callable[..., jax.Array]) -> Callable[..., tuple[Any, str]]:
    """The shape and the type of a function's result."""

    def form(**arguments: Any) -> tuple[Any, str]:
        result = function(**arguments)
        return result.shape, result.dtype.name

    return form


def form_of_images(images: Any, **_: Any) -> tuple[Any, str]:
    assert np.ndim(images) == 4
    dtype = jnp.asarray(images).dtype
    assert jnp.issubdtype(dtype, jnp.floating)
    return np.shape(images), dtype.name


def form_of_bytes(images: Any, epoch: Any) -> tuple[Any, str]:
    assert np.ndim(images) == 4 and isinstance(epoch, int) and np.asarray(images).dtype == np.uint8
    return np.shape(images), "uint8"


def normalised(images: Any, mean: Any, std: Any) -> np.ndarray:
    images = np.asarray(jnp.asarray(images))
    assert images.ndim == 4
    dtype = np.dtype(np.float32) if images.dtype == np.uint8 else images.dtype
    shares = images / np.float32(255) if images.dtype == np.uint8 else images
    return ((shares.astype(dtype) - np.asarray(mean, dtype)) / np.asarray(std, dtype)).astype(dtype)


def as_given(images: Any, labels: Any) -> Any:
    images, labels = np.asarray(images), np.asarray(labels)
    assert images.dtype == np.uint8
    return images if images.ndim == 4 else images[..., None], labels.astype(np.int32)


def parts(split: Any, count: Any, seed: Any) -> list[int]:
    return [len(part) for part in data.holdout(split, count, seed=seed)]


def counts(**arguments: Any) -> list[int]:
    return [len(split) for split in data.shapes(**arguments).splits.values()]


def by_hand(**arguments: Any) -> tuple[str, ...]:
    return data.Dataset(**arguments).class_names


def split_up(text: Any, unit: Any) -> Any:
    lowered = text.lower()
    if unit == "characters":
        return list(" ".join(lowered.split()))
    assert unit == "words"
    return re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", lowered)  # noqa: RUF001


def spectrogram(sounds: Any, **options: Any) -> np.ndarray:
    x = np.asarray(jnp.asarray(sounds))
    assert jnp.issubdtype(x.dtype, jnp.floating)
    return mel.log_mel(x, **options).astype(x.dtype)


images = np.abs(floats(2, 5, 6, 3))
bytes_, labels = np.full((6, 5, 6), 7, np.uint8), np.arange(6, dtype=np.int32) % 2
split = data.make_split(bytes_, labels)
AUGMENTED = {"key": jax.random.key(0), "images": images}
BAD_AUGMENTED = {"key": KEYS, "images": values.arrays(images)}
SCALE = {"scale": 0.1, "shift": 1.5, "shear": 0.2}
PATHS = st.sampled_from([None, 3, 2.5, b"mnist", "", "\0", ["mnist"], object(), {}])


def state_dict() -> Path:
    """A file of one array."""
    path = Path(tempfile.mkdtemp()) / "one.safetensors"
    save_file({"one": np.zeros(1)}, path)
    return path


def augmentation(function: Callable[..., jax.Array], **strengths: Any) -> Call:
    bad = {name: values.numbers() for name in strengths}
    return Call(
        form_of(function), {**AUGMENTED, **strengths}, {**BAD_AUGMENTED, **bad}, form_of_images
    )


CALLS = {
    "random_shift": augmentation(augment.random_shift, pixels=2),
    "shift": Call(
        form_of(augment.shift),
        {"images": images, "offsets": np.zeros((2, 2), np.int32)},
        {"images": values.arrays(images), "offsets": values.arrays(np.zeros((2, 2), np.int32))},
        lambda images, offsets: form_of_images(images=images),
    ),
    "random_rotation": augmentation(augment.random_rotation, degrees=10.0),
    "random_affine": augmentation(augment.random_affine, degrees=7.0, **SCALE),
    "random_flip": augmentation(augment.random_flip),
    "alternating_flip": Call(
        form_of(augment.alternating_flip),
        {"images": bytes_[..., None], "epoch": 1},
        {"images": values.arrays(bytes_[..., None]), "epoch": values.integers()},
        form_of_bytes,
    ),
    "random_cutout": augmentation(augment.random_cutout, size=2),
    "normalize": Call(
        augment.normalize,
        {"images": images, "mean": 0.5, "std": (0.1, 0.2, 0.3)},
        {
            "images": values.arrays(images),
            "mean": values.numbers() | values.arrays(floats(3)),
            "std": values.numbers() | values.arrays(floats(3)),
        },
        normalised,
    ),
    "make_split": Call(
        lambda **arguments: [*vars(data.make_split(**arguments)).values()],
        {"images": bytes_, "labels": labels},
        {"images": values.arrays(bytes_), "labels": values.arrays(labels)},
        as_given,
    ),
    "Split": Call(
        lambda **arguments: [*vars(data.Split(**arguments)).values()],
        {"images": bytes_[..., None], "labels": labels},
        {"images": values.arrays(bytes_[..., None]), "labels": values.arrays(labels)},
        lambda **arguments: list(arguments.values()),
    ),
    "Dataset": Call(
        by_hand,
        {"name": "toy", "splits": {"train": split}, "class_names": ("no", "yes"), "source": "here"},
        {
            "splits": values.nothing() | st.sampled_from([{"train": labels}, {"train": None}]),
            "class_names": values.nothing() | st.lists(st.text(max_size=2), max_size=3),
        },
        lambda class_names, **_: class_names if len(class_names) > 1 else None,
        also_named={"class_names": "class name"},
    ),
    "holdout": Call(
        parts,
        {"split": split, "count": 2, "seed": 0},
        {"split": values.nothing(), "count": values.integers(), "seed": values.integers()},
        lambda split, count, seed: [len(split) - count, count],
    ),
    "compose_canvases": Call(
        lambda **arguments: [*data.compose_canvases(**arguments).boxes.shape],
        {"digits": split, "count": 2, "size": 40, "least": 1, "most": 2, "seed": 0},
        {
            "digits": values.nothing(),
            **{name: values.integers() for name in ("count", "least", "most", "seed")},
            "size": values.integers(),
        },
        lambda count, most, **_: [count, most, 4],
    ),
    "compose_clips": Call(
        lambda **arguments: [*data.compose_clips(**arguments).clips.shape],
        {"digits": split, "count": 2, "frames": 3, "size": 9, "seed": 0},
        {
            "digits": values.nothing(),
            **{name: values.integers() for name in ("count", "frames", "size", "seed")},
        },
        lambda count, frames, size, **_: [count, frames, size, size, 1],
    ),
    "VideoSplit": Call(
        lambda **arguments: [*vars(data.VideoSplit(**arguments)).values()],
        {"clips": bytes_[:, None, ..., None], "labels": labels},
        {"clips": values.arrays(bytes_[:, None, ..., None]), "labels": values.arrays(labels)},
        lambda **arguments: list(arguments.values()),
    ),
    "shapes": Call(
        counts,
        {"train_count": 3, "test_count": 2, "seed": 0},
        {name: values.integers() for name in ("train_count", "test_count", "seed")},
        lambda train_count, test_count, seed: [train_count, test_count],
    ),
    "load": Call(
        lambda name: data.load(name).name, {"name": "mnist"}, {"name": PATHS}, lambda name: name
    ),
    "log_mel_spectrogram": Call(
        data.log_mel_spectrogram,
        {
            "sounds": floats(2, 60),
            "rate": 8000,
            "window": 24,
            "hop": 10,
            "bands": 4,
            "low": 100.0,
            "high": 4000.0,
            "padding": (12, 12),
            "floor": 1e-3,
        },
        {
            "sounds": values.arrays(floats(2, 60)),
            **{name: values.integers() for name in ("rate", "window", "hop", "bands")},
            **{name: values.numbers() for name in ("low", "high", "floor")},
            "padding": values.paddings(),
        },
        spectrogram,
    ),
    "tokenize": Call(
        data.tokenize,
        {"text": "A b", "unit": "words"},
        {"text": PATHS | st.text(), "unit": PATHS | st.sampled_from(["words", "characters"])},
        split_up,
    ),
    "read_state_dict": Call(
        lambda path: list(data.read_state_dict(path)),
        {"path": state_dict()},
        {"path": PATHS},
        lambda path: ["one"],
    ),
    "fetch": Call(
        lambda name: data.fetch(name).name, {"name": "mnist"}, {"name": PATHS}, lambda name: name
    ),
}

test_malformed_arguments_are_answered = answered(CALLS)
