"""The functions of training that users call, with malformed arguments."""

import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from hypothesis import strategies as st

from dilax import training
from tests.malformed import values
from tests.malformed.answers import floats
from tests.malformed.calls import Call, answered


def smoothed_loss(logits: Any, labels: Any, label_smoothing: Any) -> np.ndarray:
    logits, labels = np.asarray(jnp.asarray(logits)), np.asarray(labels).astype(int)
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    classes = logits.shape[-1]
    hot = labels[..., None] == np.arange(classes)
    targets = (1 - label_smoothing) * hot + label_smoothing / classes
    return -(targets * log).sum(axis=-1).astype(logits.dtype)


def hits(logits: Any, labels: Any) -> np.ndarray:
    return np.argmax(np.asarray(logits), axis=-1) == np.asarray(labels)


def start_of(make: Any, *, divided_by: float) -> Call:
    """A schedule at step 0, which is a part of its peak, but in runs of a step or two."""

    def start(peak: Any, total_steps: Any) -> bool:
        started = make(peak, total_steps=total_steps)(0)
        return bool(np.isclose(started, peak / divided_by if total_steps > 2 else peak))

    return Call(
        start,
        {"peak": 0.04, "total_steps": 100},
        {"peak": values.numbers(), "total_steps": values.integers()},
        lambda peak, total_steps: True,
        also_named={"peak": "learning_rate"},
    )


def optimizer_call(make: Any) -> Call:
    return Call(
        lambda **arguments: callable(make(**arguments).init),
        {"learning_rate": 0.1, "weight_decay": 0.1, "mask": training.is_kernel},
        {
            "learning_rate": values.nothing(),
            "weight_decay": values.numbers(),
            "mask": NO_FUNCTION,
        },
        lambda learning_rate, weight_decay, mask: bool(weight_decay >= 0),
    )


def order(key: Any, num_examples: Any, batch_size: Any) -> list[Any]:
    """The shape of an epoch's order, and whether it takes any example twice."""
    batches = np.asarray(
        training.shuffled_batches(key, num_examples=num_examples, batch_size=batch_size)
    )
    return [*batches.shape, len(set(batches.ravel())) == batches.size]


def steps_of(**arguments: Any) -> list[int]:
    made = training.Plan(**arguments)
    return [made.total_steps, made.chunk_steps]


def counted_steps(num_examples: Any, batch_size: Any, epochs: Any, max_chunks: Any) -> list[int]:
    each = num_examples // batch_size
    chunks = max(n for n in range(1, min(max_chunks, each) + 1) if each % n == 0)
    return [each * epochs, each // chunks]


def spread(values: Any) -> dict[str, Any]:
    array = np.asarray([float(value) for value in values])
    return {
        "mean": float(array.mean()),
        "std": float(array.std(ddof=1)) if len(array) > 1 else 0.0,
        "min": min(array.tolist()),
        "max": max(array.tolist()),
        "n": len(array),
    }


def confusions(labels: Any, predictions: Any, classes: Any) -> np.ndarray:
    counts = np.zeros((classes, classes), int)
    for label, prediction in zip(labels, predictions, strict=True):
        assert label >= 0 and prediction >= 0
        counts[int(label), int(prediction)] += 1
    return counts


def loaded(**arguments: Any) -> Any:
    module = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    training.load_into(module if arguments["module"] is LINEAR else 3, **{
        name: arguments[name] for name in ("params", "batch_stats")
    })  # fmt: skip
    return np.shape(module.kernel[...])


def decibels(images: Any, targets: Any, border: Any) -> np.ndarray:
    ours, theirs = (grey(np.asarray(each)) for each in (images, targets))
    assert ours.shape == theirs.shape and border >= 0
    cut = (
        [ours, theirs]
        if not border
        else [each[:, border:-border, border:-border] for each in (ours, theirs)]
    )
    error = np.square(cut[0] - cut[1]).mean(axis=(1, 2, 3))
    return (-10 * np.log10(np.maximum(error, 1e-10))).astype(np.float32)


def grey(images: np.ndarray) -> np.ndarray:
    """Luma of colours, in float32."""
    assert images.ndim == 4
    floats = images / np.float32(255) if images.dtype == np.uint8 else images.astype(np.float32)
    if images.shape[-1] == 1:
        return floats
    weights = np.array([65.481, 128.553, 24.966], np.float32)
    return (16 + (floats * weights).sum(-1, keepdims=True, dtype=np.float32)) / np.float32(255)


LINEAR = "a linear layer"
logits, labels = floats(3, 4), np.array([0, 3, 1], np.int32)
COLOURS = np.abs(floats(2, 13, 14, 3)) / 8
TREE = {"w": floats(2, 3)}
BAD_TREE = values.nothing() | st.fixed_dictionaries({"w": values.arrays(floats(2, 3))})
KEYS = values.nothing() | st.sampled_from([np.zeros(3), jax.random.split(jax.random.key(0))])
NO_FUNCTION = values.no_functions()
PARAMS = {"kernel": floats(4, 3), "bias": floats(3)}
BAD_PARAMS = st.fixed_dictionaries(
    {"kernel": values.arrays(floats(4, 3))}, optional={"bias": st.just(floats(3))}
)
OPTIMIZERS = st.sampled_from(["adam", optax.adam, None, 3, types.SimpleNamespace(init=3)])
OPTIONS = {
    "augmented_steps": 3,
    "mixup": 0.2,
    "ema_decay": 0.9,
    "loss_scale": 8.0,
    "accumulate": 2,
}

CALLS = {
    "cross_entropy": Call(
        training.cross_entropy,
        {"logits": logits, "labels": labels, "label_smoothing": 0.1},
        {
            "logits": values.arrays(logits),
            "labels": values.arrays(np.ones(3, np.int32)),
            "label_smoothing": values.numbers(),
        },
        smoothed_loss,
    ),
    "correct": Call(
        training.correct,
        {"logits": logits, "labels": labels},
        {"logits": values.arrays(logits), "labels": values.arrays(np.ones(3, np.int32))},
        hits,
    ),
    "one_cycle": start_of(training.one_cycle, divided_by=25),
    "cosine": start_of(training.cosine, divided_by=1),
    "adamw": optimizer_call(training.adamw),
    "nesterov": optimizer_call(training.nesterov),
    "muon": optimizer_call(training.muon),
    "clipped": Call(
        lambda **arguments: callable(training.clipped(**arguments).init),
        {"optimizer": optax.sgd(0.1), "norm": 1.0},
        {"optimizer": OPTIMIZERS, "norm": values.numbers()},
        lambda optimizer, norm: bool(norm > 0),
    ),
    "except_frozen": Call(
        lambda **arguments: callable(training.except_frozen(**arguments).init),
        {"optimizer": optax.sgd(0.1), "frozen": bool},
        {"optimizer": OPTIMIZERS, "frozen": NO_FUNCTION},
        lambda optimizer, frozen: True,
    ),
    "scaled": Call(
        lambda **arguments: callable(training.scaled(**arguments).init),
        {"optimizer": optax.sgd(0.1), "chosen": bool, "factor": 0.1},
        {"optimizer": OPTIMIZERS, "chosen": NO_FUNCTION, "factor": values.numbers()},
        lambda optimizer, chosen, factor: bool(factor >= 0),
    ),
    "keep_statistics": Call(
        lambda apply: callable(training.keep_statistics(apply)),
        {"apply": max},
        {"apply": NO_FUNCTION},
        lambda apply: True,
    ),
    "create_state": Call(
        lambda **arguments: int(training.create_state(**arguments).step),
        {
            "key": jax.random.key(0),
            "params": TREE,
            "batch_stats": {},
            "optimizer": optax.sgd(0.1),
        },
        {"key": KEYS, "params": BAD_TREE, "batch_stats": BAD_TREE, "optimizer": OPTIMIZERS},
        lambda **_: 0,
    ),
    "functional": Call(
        lambda module: training.functional(module).params,
        {"module": nnx.Linear(4, 3, rngs=nnx.Rngs(0))},
        {"module": values.nothing() | st.just(nnx.Linear)},
        lambda module: nnx.to_pure_dict(nnx.state(module)),
    ),
    "load_into": Call(
        loaded,
        {"module": LINEAR, "params": PARAMS, "batch_stats": {}},
        {"module": values.nothing(), "params": BAD_PARAMS, "batch_stats": BAD_TREE},
        lambda **_: (4, 3),
    ),
    "TrainOptions": Call(
        lambda **arguments: bool(training.TrainOptions(**arguments)),
        OPTIONS,
        {
            name: values.integers() if isinstance(value, int) else values.numbers()
            for name, value in OPTIONS.items()
        },
        lambda **_: True,
    ),
    "Classification": Call(
        lambda **arguments: bool(training.Classification(**arguments)),
        {"label_smoothing": 0.1, "class_weights": (1.0, 2.0)},
        {"label_smoothing": values.numbers(), "class_weights": values.nothing()},
        lambda **_: True,
    ),
    "Segmentation": Call(
        lambda **arguments: training.Segmentation(**arguments).zero_counts()["confusion"].shape,
        {"classes": 3, "void": 255},
        {"classes": values.integers(), "void": values.nothing()},
        lambda classes, void: (classes, classes),
    ),
    "intersection_over_union": Call(
        lambda confusion: training.intersection_over_union(confusion).shape,
        {"confusion": np.ones((3, 3))},
        {"confusion": values.arrays(np.ones((3, 3)))},
        lambda confusion: (len(confusion),),
    ),
    "Restoration": Call(
        lambda border: training.Restoration(border=border).border,
        {"border": 2},
        {"border": values.integers()},
        lambda border: border,
    ),
    "luma": Call(
        training.luma,
        {"images": COLOURS},
        {"images": values.arrays(COLOURS)},
        grey,
    ),
    "psnr": Call(
        lambda **arguments: training.psnr(**arguments).shape,
        {"images": COLOURS, "targets": COLOURS[::-1], "border": 1},
        {
            "images": values.arrays(COLOURS),
            "targets": values.arrays(COLOURS),
            "border": values.integers(),
        },
        lambda **arguments: decibels(**arguments).shape,
    ),
    "ssim": Call(
        lambda **arguments: training.ssim(**arguments).shape,
        {"images": COLOURS, "targets": COLOURS[::-1], "border": 1},
        {
            "images": values.arrays(COLOURS),
            "targets": values.arrays(COLOURS),
            "border": values.integers(),
        },
        lambda **arguments: decibels(**arguments).shape,
    ),
    "make_train_step": Call(
        lambda **arguments: callable(training.make_train_step(**arguments)),
        {
            "apply": max,
            "optimizer": optax.sgd(0.1),
            "task": training.Classification(),
            "augment": max,
            "prepare": max,
            "options": training.TrainOptions(),
        },
        {
            "apply": NO_FUNCTION,
            "optimizer": OPTIMIZERS,
            "task": values.nothing(),
            "augment": NO_FUNCTION,
            "prepare": NO_FUNCTION,
            "options": values.nothing(),
        },
        lambda **_: True,
    ),
    "make_eval_step": Call(
        lambda **arguments: callable(training.make_eval_step(**arguments)),
        {"apply": max, "task": training.Classification(), "prepare": max},
        {"apply": NO_FUNCTION, "task": values.nothing(), "prepare": NO_FUNCTION},
        lambda **_: True,
    ),
    "shuffled_batches": Call(
        order,
        {"key": jax.random.key(0), "num_examples": 11, "batch_size": 4},
        {"key": KEYS, "num_examples": values.integers(), "batch_size": values.integers()},
        lambda key, num_examples, batch_size: [num_examples // batch_size, batch_size, True],
    ),
    "Plan": Call(
        steps_of,
        {"num_examples": 100, "batch_size": 7, "epochs": 3, "max_chunks": 12},
        {
            name: values.integers()
            for name in ("num_examples", "batch_size", "epochs", "max_chunks")
        },
        counted_steps,
    ),
    "over_seeds": Call(
        training.over_seeds,
        {"values": [0.5, 1.0]},
        {"values": values.nothing() | st.lists(values.numbers(), max_size=3)},
        spread,
    ),
    "confusion_matrix": Call(
        training.confusion_matrix,
        {"labels": labels, "predictions": labels[::-1], "classes": 4},
        {
            "labels": values.arrays(labels),
            "predictions": values.arrays(labels),
            "classes": values.integers(),
        },
        confusions,
    ),
    "make_parallelism": Call(
        lambda name, devices: training.make_parallelism(name, devices).axis_name,
        {"name": "pmap", "devices": jax.devices("cpu")},
        {
            "name": values.nothing() | st.sampled_from(["jit", "vmap", ""]),
            "devices": values.nothing(),
        },
        lambda name, devices: {"jit": None, "pmap": "devices"}[name],
        also_named={"name": "parallel"},
    ),
    "compute_in": Call(
        lambda **arguments: callable(training.compute_in(**arguments)),
        {"dtype": "bfloat16", "apply": max},
        {"dtype": values.nothing() | st.sampled_from(["int32", "flat32"]), "apply": NO_FUNCTION},
        lambda dtype, apply: dtype == "bfloat16",
    ),
    "quantize_aware": Call(
        lambda **arguments: callable(training.quantize_aware(**arguments)),
        {"apply": max, "bits": 8, "mask": training.is_kernel},
        {"apply": NO_FUNCTION, "bits": values.integers(), "mask": NO_FUNCTION},
        lambda apply, bits, mask: 2 <= bits <= 16,
    ),
    "round_kernels": Call(
        lambda bits, mask: training.round_kernels({"k": jnp.eye(2)}, bits=bits, mask=mask)["k"],
        {"bits": 8, "mask": training.is_kernel},
        {"bits": values.integers(), "mask": NO_FUNCTION},
        lambda bits, mask: np.eye(2, dtype=np.float32) if 2 <= bits <= 16 else None,
    ),
    "share_batch": Call(
        lambda **arguments: len(training.share_batch(["one", "other"], **arguments)),
        {"count": 2, "batch_size": 8, "accumulate": 2},
        {name: values.integers() for name in ("count", "batch_size", "accumulate")},
        lambda count, batch_size, accumulate: (
            count or (2 if batch_size % (2 * accumulate) == 0 else 1)
        ),
        also_named={"count": "devices", "accumulate": "batch_size"},
    ),
    "find_devices": Call(
        lambda name: training.find_devices(name)[0].platform,
        {"name": "cpu"},
        {"name": values.nothing() | values.integers()},
        lambda name: "cpu" if name in ("auto", "cpu") else None,
        also_named={"name": "device"},
    ),
}

test_malformed_arguments_are_answered = answered(CALLS)
