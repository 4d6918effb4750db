"""The pure functions of training of malformed arguments."""

import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from hypothesis import strategies as st

from dilax.training import (
    device,
    epoch,
    functional,
    losses,
    mixup,
    optimizers,
    plan,
    precision,
    schedules,
    state,
    statistics,
    step,
    wrappers,
)
from tests.malformed import values
from tests.malformed.answers import floats
from tests.malformed.calls import Call, answered

ROOMS = (
    *(device, epoch, functional, losses, mixup, optimizers, plan, precision, schedules),
    *(state, statistics, step, wrappers),
)
"""The modules of training whose functions stand below."""


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
        {"learning_rate": 0.1, "weight_decay": 0.1, "mask": optimizers.is_kernel},
        {
            "learning_rate": values.nothing(),
            "weight_decay": values.numbers(),
            "mask": NO_FUNCTION,
        },
        lambda learning_rate, weight_decay, mask: bool(weight_decay >= 0),
    )


def moved(ema: Any, new: Any, step: Any, decay: Any) -> Any:
    rate = (1 - decay) / (1 - np.float64(decay) ** np.asarray(step, np.float64))

    def one(old: Any, value: Any) -> np.ndarray:
        old, value = np.asarray(jnp.asarray(old)), np.asarray(jnp.asarray(value))
        return (old + rate * (value - old)).astype(np.promote_types(old.dtype, value.dtype))

    return jax.tree.map(one, ema, new)


def order(key: Any, num_images: Any, batch_size: Any) -> list[Any]:
    """The shape of an epoch's order, and whether it takes any image twice."""
    batches = np.asarray(epoch.shuffled_batches(key, num_images=num_images, batch_size=batch_size))
    return [*batches.shape, len(set(batches.ravel())) == batches.size]


def steps_of(**arguments: Any) -> list[int]:
    made = plan.Plan(**arguments)
    return [made.total_steps, made.chunk_steps]


def counted_steps(num_images: Any, batch_size: Any, epochs: Any, most_chunks: Any) -> list[int]:
    each = num_images // batch_size
    chunks = max(n for n in range(1, min(most_chunks, each) + 1) if each % n == 0)
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
    functional.load_into(module if arguments["module"] is LINEAR else 3, **{
        name: arguments[name] for name in ("params", "batch_stats")
    })  # fmt: skip
    return np.shape(module.kernel[...])


describe = device.describe_device
LINEAR = "a linear layer"
logits, labels = floats(3, 4), np.array([0, 3, 1], np.int32)
TREE = {"w": floats(2, 3)}
BAD_TREE = values.nothing() | st.fixed_dictionaries({"w": values.arrays(floats(2, 3))})
KEYS = values.nothing() | st.sampled_from([np.zeros(3), jax.random.split(jax.random.key(0))])
NO_FUNCTION = values.no_functions()
PARAMS = {"kernel": floats(4, 3), "bias": floats(3)}
BAD_PARAMS = st.fixed_dictionaries(
    {"kernel": values.arrays(floats(4, 3))}, optional={"bias": st.just(floats(3))}
)
OPTIMIZERS = st.sampled_from(["adam", optax.adam, None, 3, types.SimpleNamespace(init=3)])

CALLS = {
    "losses.cross_entropy": Call(
        losses.cross_entropy,
        {"logits": logits, "labels": labels, "label_smoothing": 0.1},
        {
            "logits": values.arrays(logits),
            "labels": values.arrays(np.ones(3, np.int32)),
            "label_smoothing": values.numbers(),
        },
        smoothed_loss,
    ),
    "losses.correct": Call(
        losses.correct,
        {"logits": logits, "labels": labels},
        {"logits": values.arrays(logits), "labels": values.arrays(np.ones(3, np.int32))},
        hits,
    ),
    "schedules.one_cycle": start_of(schedules.one_cycle, divided_by=25),
    "schedules.cosine": start_of(schedules.cosine, divided_by=1),
    "optimizers.adamw": optimizer_call(optimizers.adamw),
    "optimizers.nesterov": optimizer_call(optimizers.nesterov),
    "optimizers.muon": optimizer_call(optimizers.muon),
    "optimizers.clipped": Call(
        lambda **arguments: callable(optimizers.clipped(**arguments).init),
        {"optimizer": optax.sgd(0.1), "norm": 1.0},
        {"optimizer": OPTIMIZERS, "norm": values.numbers()},
        lambda optimizer, norm: bool(norm > 0),
    ),
    "optimizers.except_frozen": Call(
        lambda **arguments: callable(optimizers.except_frozen(**arguments).init),
        {"optimizer": optax.sgd(0.1), "frozen": bool},
        {"optimizer": OPTIMIZERS, "frozen": NO_FUNCTION},
        lambda optimizer, frozen: True,
    ),
    "mixup.draw_shares": Call(
        lambda **arguments: len(mixup.draw_shares(**arguments)),
        {"keys": jax.random.split(jax.random.key(0), 4), "alpha": 0.2},
        {
            "keys": values.nothing() | st.just(jax.random.split(jax.random.key(0), 3)),
            "alpha": values.numbers(),
        },
        lambda keys, alpha: 4,
    ),
    "functional.freeze": Call(
        lambda **arguments: callable(functional.freeze(**arguments)),
        {"apply": max, "frozen": bool},
        {"apply": NO_FUNCTION, "frozen": NO_FUNCTION},
        lambda apply, frozen: callable(frozen),
    ),
    "functional.mean_of_mirrored": Call(
        lambda apply: callable(functional.mean_of_mirrored(apply)),
        {"apply": max},
        {"apply": NO_FUNCTION},
        lambda apply: callable(apply),
    ),
    "optimizers.mixes_features": Call(
        optimizers.mixes_features,
        {"params": TREE},
        {"params": BAD_TREE},
        lambda params: jax.tree.map(lambda one: np.ndim(one) > 1 and one.shape[-2] > 1, params),
    ),
    "optimizers.everything": Call(
        optimizers.everything,
        {"params": TREE},
        {"params": BAD_TREE},
        lambda params: jax.tree.map(lambda _: True, params),
    ),
    "optimizers.is_kernel": Call(
        optimizers.is_kernel,
        {"params": TREE},
        {"params": BAD_TREE},
        lambda params: jax.tree.map(lambda array: np.ndim(array) > 1, params),
    ),
    "state.create_state": Call(
        lambda **arguments: int(state.create_state(**arguments).step),
        {
            "key": jax.random.key(0),
            "params": TREE,
            "batch_stats": {},
            "optimizer": optax.sgd(0.1),
        },
        {"key": KEYS, "params": BAD_TREE, "batch_stats": BAD_TREE, "optimizer": OPTIMIZERS},
        lambda **_: 0,
    ),
    "state.average": Call(
        state.average,
        {"ema": TREE, "new": {"w": 2 * floats(2, 3)}, "step": np.int32(3), "decay": 0.9},
        {
            "ema": BAD_TREE,
            "new": BAD_TREE,
            "step": values.nothing(),
            "decay": values.numbers(),
        },
        moved,
    ),
    "functional.functional": Call(
        lambda module: functional.functional(module).params,
        {"module": nnx.Linear(4, 3, rngs=nnx.Rngs(0))},
        {"module": values.nothing() | st.just(nnx.Linear)},
        lambda module: nnx.to_pure_dict(nnx.state(module)),
    ),
    "functional.load_into": Call(
        loaded,
        {"module": LINEAR, "params": PARAMS, "batch_stats": {}},
        {"module": values.nothing(), "params": BAD_PARAMS, "batch_stats": BAD_TREE},
        lambda **_: (4, 3),
    ),
    "step.make_train_step": Call(
        lambda **arguments: callable(step.make_train_step(**arguments)),
        {
            "apply": max,
            "optimizer": optax.sgd(0.1),
            "augment": max,
            "prepare": max,
            "augmented_steps": 3,
            "label_smoothing": 0.1,
            "mixup": 0.2,
            "ema_decay": 0.9,
            "loss_scale": 8.0,
            "accumulate": 2,
        },
        {
            "apply": NO_FUNCTION,
            "optimizer": OPTIMIZERS,
            "augment": NO_FUNCTION,
            "prepare": NO_FUNCTION,
            "augmented_steps": values.integers(),
            "label_smoothing": values.numbers(),
            "mixup": values.numbers(),
            "ema_decay": values.numbers(),
            "loss_scale": values.numbers(),
            "accumulate": values.integers(),
        },
        lambda **_: True,
    ),
    "step.make_eval_step": Call(
        lambda **arguments: callable(step.make_eval_step(**arguments)),
        {"apply": max, "prepare": max},
        {"apply": NO_FUNCTION, "prepare": NO_FUNCTION},
        lambda **_: True,
    ),
    "epoch.shuffled_batches": Call(
        order,
        {"key": jax.random.key(0), "num_images": 11, "batch_size": 4},
        {"key": KEYS, "num_images": values.integers(), "batch_size": values.integers()},
        lambda key, num_images, batch_size: [num_images // batch_size, batch_size, True],
    ),
    "epoch.make_train_steps": Call(
        lambda train_step: callable(epoch.make_train_steps(train_step)),
        {"train_step": max},
        {"train_step": NO_FUNCTION},
        lambda train_step: callable(train_step),
    ),
    "epoch.make_evaluate": Call(
        lambda **arguments: callable(epoch.make_evaluate(**arguments)),
        {"eval_step": max, "batch_size": 5},
        {"eval_step": NO_FUNCTION, "batch_size": values.integers()},
        lambda eval_step, batch_size: callable(eval_step) and batch_size > 0,
    ),
    "plan.Plan": Call(
        steps_of,
        {"num_images": 100, "batch_size": 7, "epochs": 3, "most_chunks": 12},
        {name: values.integers() for name in ("num_images", "batch_size", "epochs", "most_chunks")},
        counted_steps,
    ),
    "statistics.over_seeds": Call(
        statistics.over_seeds,
        {"values": [0.5, 1.0]},
        {"values": values.nothing() | st.lists(values.numbers(), max_size=3)},
        spread,
    ),
    "statistics.confusion_matrix": Call(
        statistics.confusion_matrix,
        {"labels": labels, "predictions": labels[::-1], "classes": 4},
        {
            "labels": values.arrays(labels),
            "predictions": values.arrays(labels),
            "classes": values.integers(),
        },
        confusions,
    ),
    "wrappers.make": Call(
        lambda name, devices: wrappers.make(name, devices).axis_name,
        {"name": "pmap", "devices": jax.devices("cpu")},
        {
            "name": values.nothing() | st.sampled_from(["jit", "vmap", ""]),
            "devices": values.nothing(),
        },
        lambda name, devices: {"jit": None, "pmap": "devices"}[name],
        also_named={"name": "parallel"},
    ),
    "precision.compute_in": Call(
        lambda **arguments: callable(precision.compute_in(**arguments)),
        {"dtype": "bfloat16", "apply": max},
        {"dtype": values.nothing() | st.sampled_from(["int32", "flat32"]), "apply": NO_FUNCTION},
        lambda dtype, apply: dtype == "bfloat16",
    ),
    "device.share_batch": Call(
        lambda **arguments: len(device.share_batch(["one", "other"], **arguments)),
        {"count": 2, "batch_size": 8, "accumulate": 2},
        {name: values.integers() for name in ("count", "batch_size", "accumulate")},
        lambda count, batch_size, accumulate: (
            count or (2 if batch_size % (2 * accumulate) == 0 else 1)
        ),
        also_named={"count": "devices", "accumulate": "batch_size"},
    ),
    "device.describe_device": Call(
        lambda device: bool(describe(device)),
        {"device": jax.devices("cpu")[0]},
        {"device": values.nothing() | st.just("cpu")},
        lambda device: True,
    ),
    "device.find_devices": Call(
        lambda name: device.find_devices(name)[0].platform,
        {"name": "cpu"},
        {"name": values.nothing() | values.integers()},
        lambda name: "cpu" if name in ("auto", "cpu") else None,
        also_named={"name": "device"},
    ),
}

test_malformed_arguments_are_answered = answered(CALLS)
