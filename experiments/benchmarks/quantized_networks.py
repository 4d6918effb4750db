"""Networks of 8-bit integers, made after training or trained for it: their accuracy and size.

    pip install -e ".[interop]" && python experiments/benchmarks/quantized_networks.py

Each seed trains a network twice, in float32 and with kernels that are rounded to 8 bits in each
step. Both are quantised, in JAX by qwix and in an ONNX file by ONNX Runtime. Scales of activations
are chosen on training images that were held out. Test images only measure. Runs stay in a folder,
so that a program that was stopped goes on where it was. No times are taken, so that other programs
may run beside this one.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benchmark
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from smaller_networks import BATCH, Logits, Trainings, accuracy, onnx_files, over_seeds, trained

import dilax
from dilax import data, models, training

BITS = 8
TRAININGS = {"float32": (), f"kernels of {BITS} bits": ("--kernel-bits", str(BITS))}
"""Flags of each training."""
FILES = {"float32": "ONNX", "int8": "int8 in ONNX"}
"""What the table calls the files of a network."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Trainings):
    """Measure accuracy and size of networks of 8-bit integers; write a record."""

    held_out: int = 512
    """Training images that are held out, on which scales are chosen."""
    runs: Path = Path("runs/quantized")
    """Folder of the runs."""

    def __post_init__(self) -> None:
        if self.held_out < 1:
            raise ValueError(f"--held-out must be at least 1, got {self.held_out}.")


def measure(config: Config) -> benchmark.Record:
    """Train all networks, quantise them, and measure them."""
    splits = data.load(config.dataset).splits
    _, held_out = data.holdout(splits["train"], config.held_out)
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(config.seeds):
        for name, row in forms(config, seed, held_out.images, splits["test"]).items():
            rows.setdefault(name, []).append(row)
    return {"forms": {name: over_seeds(found) for name, found in rows.items()}}


def forms(
    config: Config, seed: int, images: np.ndarray, test: data.Split
) -> dict[str, dict[str, float]]:
    """Measure the networks of a seed, and the integers that are made of them."""
    found = {}
    for name, flags in TRAININGS.items():
        given = (*flags, "--validation", str(config.held_out))
        run = f"{name.replace(' ', '_')}_{seed}"
        model = models.load(trained(config, run, seed, config.epochs, *given))
        arrays = nnx.state(model.network, (nnx.Param, nnx.BatchStat))
        found[name] = row(jax.jit(model.logits), size(arrays), test)
        found[f"{name}, int8 by qwix"] = by_qwix(model, images, test)
        for kind, file, logits in onnx_files(model, images):
            found[f"{name}, {FILES[kind]}"] = row(logits, file.stat().st_size, test)
    for values in found.values():
        values["difference"] = values["accuracy"] - found["float32"]["accuracy"]
    return found


def row(logits: Logits, size: int, test: data.Split) -> dict[str, float]:
    """Measure accuracy on test images."""
    return {"accuracy": accuracy(logits, test), "bytes": size}


def size(arrays: Any) -> int:
    """Count the bytes of arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))


def by_qwix(
    model: models.TrainedClassifier, images: np.ndarray, test: data.Split
) -> dict[str, float]:
    """Measure a network whose convolutions and products qwix computes in integers."""
    with dilax.using(dilax.algorithms.lax):
        network = quantised(model.network, model.preparation.normalise(jnp.asarray(images)))
        graphdef, state = nnx.split(network)

        @jax.jit
        def logits(state: Any, pixels: jax.Array) -> jax.Array:
            return nnx.merge(graphdef, state)(model.preparation.normalise(pixels))

        return row(functools.partial(logits, state), size(state), test)


def quantised(network: nnx.Module, images: jax.Array) -> nnx.Module:
    """Quantise a network by qwix: weights by out-feature, activations by scales of the images."""
    import qwix

    int8 = {"weight_qtype": jnp.int8, "act_qtype": jnp.int8, "act_static_scale": True}
    linear = [
        "/".join(map(str, path))
        for path, part in nnx.iter_graph(network)
        if isinstance(part, nnx.Linear)
    ]

    def rules(rule: Callable[..., Any], **others: Any) -> list[Any]:
        """Give each layer one scale of its input, the mean over batches of the largest entry."""
        options = int8 | others
        return [
            rule(module_path="|".join(linear), **options),
            rule(op_names=("dot_general",), act_batch_axes=(0, 1, 2), **options),
            rule(**options),
        ]

    _, params, _ = training.functional(network)
    whole = {"lhs_disable_channelwise_axes": True}
    observed = qwix.quantize_model(
        network, qwix.QtProvider(rules(qwix.QtRule, additional_qt_config=whole)), images[:2]
    )
    for start in range(0, len(images), BATCH):
        observed(images[start : start + BATCH])  # not under jit, where qwix cannot count
    statistics = nnx.to_pure_dict(nnx.state(observed, qwix.QuantStat))
    narrow = qwix.quantize_model(
        network, qwix.PtqProvider(rules(qwix.QuantizationRule)), images[:2]
    )
    nnx.update(narrow, qwix.quantize_params(params, narrow, statistics))
    return narrow


# --- the table ------------------------------------------------------------------------------------


def section(record: benchmark.Record) -> str:
    """Make the table of all forms."""
    rows = [
        (
            name,
            f"{found['accuracy']['mean']:.2%}",
            f"{100 * found['difference']['mean']:+.2f}",
            f"{found['bytes']['mean']:,.0f}",
        )
        for name, found in record["forms"].items()
    ]
    header = ("trained in, and then", "test accuracy", "points from float32", "bytes")
    config = record["config"]
    seeds = f"means over {config['seeds']} seeds" if config["seeds"] > 1 else "one seed"
    return (
        f"{benchmark.table(header, rows)}\n`{config['model']}` on {config['dataset']}, "
        f"{config['epochs']} epochs, {seeds}; bytes of the arrays, or of the ONNX file; "
        f"{benchmark.where(record)}.\n"
    )


main = functools.partial(benchmark.run, Config, measure, section, libraries=["onnxruntime"])

if __name__ == "__main__":
    sys.exit(main())
