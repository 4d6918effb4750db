"""Networks made smaller after training: pruned, sparse, and of 8-bit integers.

    pip install -e ".[interop]" && python experiments/benchmarks/smaller_networks.py

Each seed trains a network, and each form is made of it: channels are pruned on training images, and
the narrower network trains on; a sparse network is trained with zeros from the start; integers are
calibrated on training images. Test images only measure. Runs stay in a folder, so that a program
that was stopped goes on where it was.
"""

import dataclasses
import functools
import shlex
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import benchmark
import cifar_dsdc
import jax
import jax.numpy as jnp
import mnist_dsdc
import numpy as np
from prune import some

import dilax
from dilax import data, models, training

NETWORKS = ("mnist_dsdc", "dsdc")
"""Networks that can be pruned."""
CHOSEN_ON, CALIBRATED_ON = 6000, 512
"""Training images on which channels and scales are chosen."""
BATCH = 64
"""Images of a batch whose time is taken."""
Logits = Callable[[Any], Any]
"""``uint8 images (N, H, W, C) -> logits``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trainings(benchmark.Flags):
    """The flags of a benchmark that trains networks with several seeds."""

    model: str = "mnist_dsdc"
    """The network."""
    dataset: str = "mnist"
    """Its data set."""
    epochs: int = 15
    """Epochs of the first training."""
    seeds: int = 3
    """Number of seeds."""
    runs: Path = Path("runs/smaller")
    """Folder of the runs."""
    flags: str = ""
    """Other flags of every training, such as --flags="--batch-size 256"."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Trainings, benchmark.Turns):
    """Measure accuracy, size and time of networks that were made smaller; write a record."""

    tuning_epochs: int = 5
    """Epochs after pruning."""
    shares: tuple[float, ...] = (0.75, 0.5, 0.35)
    """Shares of channels that stay."""
    sparsities: tuple[float, ...] = (0.8,)
    """Shares of zeros in kernels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model not in NETWORKS:
            raise ValueError(f"--model must be one of {', '.join(NETWORKS)}, got {self.model}.")


def measure(config: Config) -> benchmark.Record:
    """Train all networks, and measure them."""
    splits = data.load(config.dataset).splits
    rows: dict[str, list[dict[str, Any]]] = {}
    for seed in range(config.seeds):
        for name, row in forms(config, seed, splits["train"], splits["test"]).items():
            rows.setdefault(name, []).append(row)
    return {"forms": {name: over_seeds(found) for name, found in rows.items()}}


def forms(
    config: Config, seed: int, train: data.Split, test: data.Split
) -> dict[str, dict[str, float]]:
    """Measure the network of a seed, and all forms that are made of it."""
    whole = trained(config, f"whole_{seed}", seed, config.epochs)
    model = models.load(whole)
    found = {"as trained": of_run(whole, config)}
    for share in config.shares:
        file = config.runs / f"pruned_{share}_{seed}.safetensors"
        chosen = some(train, CHOSEN_ON, seed)
        models.save(models.prune(model, share, chosen.images, chosen.labels), file)
        flags = ("--init", str(file))
        run = trained(config, f"pruned_{share}_{seed}", seed, config.tuning_epochs, *flags)
        found[f"{share:.0%} of the channels"] = of_run(run, config)
    for sparsity in config.sparsities:
        flags = ("--sparsity", str(sparsity))
        run = trained(config, f"sparse_{sparsity}_{seed}", seed, config.epochs, *flags)
        found[f"{sparsity:.0%} zeros"] = of_run(run, config)
    images = some(train, CALIBRATED_ON, seed).images
    return found | as_onnx(model, images, test, found["as trained"], config)


def trained(config: Trainings, name: str, seed: int, epochs: int, *flags: str) -> Path:
    """Train a network, unless it is there; return its folder.

    Raises:
        ValueError: The training failed.
    """
    folder = config.runs / name
    if not (folder / training.SUMMARY_FILE).is_file():
        given = ["--model", config.model, "--dataset", config.dataset, "--epochs", str(epochs)]
        given += ["--seed", str(seed), "--output", str(folder), "--no-pictures", *flags]
        program = mnist_dsdc if config.model.startswith("mnist") else cifar_dsdc
        if program.main([*given, *shlex.split(config.flags)]):
            raise ValueError(f"the training of {folder} failed; its message is above.")
    return folder


def of_run(folder: Path, config: Config) -> dict[str, float]:
    """Measure the network of a run: accuracy by its record, size and time."""
    summary, model = training.read_json(folder / training.SUMMARY_FILE), models.load(folder)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "network.safetensors"
        models.save(model, file)
        content = file.read_bytes()
    images = jnp.zeros((BATCH, *model.preparation.image_shape))
    call = jax.jit(model.logits).lower(images).compile()
    return {
        "accuracy": summary["test_accuracy"],
        "parameters": summary["parameters"],
        "multiply_adds": summary["multiply_adds"],
        "bytes": len(content),
        "compressed_bytes": len(zlib.compress(content, 9)),
        "milliseconds": least(lambda: jax.block_until_ready(call(images)), config),
    }


def as_onnx(
    model: models.TrainedClassifier,
    images: np.ndarray,
    test: data.Split,
    whole: Mapping[str, float],
    config: Config,
) -> dict[str, dict[str, float]]:
    """Measure a network in ONNX Runtime, in float32 and in 8-bit integers."""
    found = {}
    for name, file, logits in onnx_files(model, images):
        content = file.read_bytes()
        found[f"ONNX, {name}"] = {
            **whole,
            "accuracy": accuracy(logits, test),
            "bytes": len(content),
            "compressed_bytes": len(zlib.compress(content, 9)),
            "milliseconds": least(functools.partial(logits, test.images[:BATCH]), config),
        }
    return found


def onnx_files(
    model: models.TrainedClassifier, images: np.ndarray
) -> Iterator[tuple[str, Path, Logits]]:
    """Write a network as ONNX, in float32 and in 8-bit integers; give each file and its logits."""
    import onnxruntime

    batches = (images[n : n + BATCH] / np.float32(255) for n in range(0, len(images), BATCH))
    with tempfile.TemporaryDirectory() as place:
        wide, narrow = (Path(place) / f"{name}.onnx" for name in ("float32", "int8"))
        dilax.inference.export(model.logits, wide, ("batch", *model.preparation.image_shape))
        dilax.inference.quantize(wide, narrow, batches)
        for file in (wide, narrow):
            yield file.stem, file, functools.partial(run_onnx, onnxruntime.InferenceSession(file))


def accuracy(logits: Logits, test: data.Split) -> float:
    """Measure the accuracy on test images."""
    right = [
        np.asarray(logits(test.images[n : n + BATCH])).argmax(-1) == test.labels[n : n + BATCH]
        for n in range(0, len(test), BATCH)
    ]
    return float(np.concatenate(right).mean())


def run_onnx(session: Any, images: np.ndarray) -> np.ndarray:
    """Compute the logits of uint8 images by a session of ONNX Runtime."""
    return session.run(None, {session.get_inputs()[0].name: images / np.float32(255)})[0]


def least(call: Callable[[], object], config: Config) -> float:
    """Return the milliseconds of the fastest of some turns of ten calls."""
    turns = {"only": lambda: [call() for _ in range(10)]}
    return float(benchmark.take_turns(turns, rounds=config.rounds, steps=10)["only"].min())


def over_seeds(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Summarise what was measured with all seeds."""
    return {
        name: {
            "mean": float(np.mean([row[name] for row in rows])),
            "std": float(np.std([row[name] for row in rows])),
            "least": float(min(row[name] for row in rows)),
            "n": len(rows),
        }
        for name in rows[0]
    }


# --- the table ------------------------------------------------------------------------------------


def section(record: benchmark.Record) -> str:
    """Make the table of all forms."""
    rows = [
        (
            name,
            f"{found['parameters']['mean']:,.0f}",
            f"{found['multiply_adds']['mean']:,.0f}",
            f"{found['accuracy']['mean']:.2%}",
            f"{100 * found['accuracy']['std']:.2f}",
            f"{found['bytes']['mean']:,.0f}",
            f"{found['compressed_bytes']['mean']:,.0f}",
            f"{found['milliseconds']['least']:.2f}",
        )
        for name, found in record["forms"].items()
    ]
    header = ("form", "parameters", "multiply-adds", "test accuracy", "deviation", "bytes")
    table = benchmark.table((*header, "compressed", f"ms for {BATCH} images"), rows)
    config = record["config"]
    return (
        f"{table}\n`{config['model']}`: means over {config['seeds']} seeds, "
        f"{benchmark.where(record)}.\n"
    )


main = functools.partial(benchmark.run, Config, measure, section, libraries=["onnxruntime"])

if __name__ == "__main__":
    sys.exit(main())
