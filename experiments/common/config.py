"""The flags that all programs share."""

import dataclasses
import importlib.util
import math
from pathlib import Path
from typing import Any, Literal

GLOBAL = "global with --parallel jit, or add --parallel pmap"
REPLICAS = "left out with --parallel pmap, which replicates the optimiser"
INSTALLED = 'left out without tensorboardX (pip install "dilax-jax[tensorboard]")'
MOST_SEEDS = 2**32
"""Seeds are 32 bits."""
JOINED = "given together with --distributed"
ADDRESS = "host:port, with a port below 65,536"
NUMBERED = "given together with --coordinator"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The flags that all programs share."""

    model: str
    """Network to train, by its name in dilax.models."""
    dataset: str
    """Data set, by name (mnist, fashion_mnist, shapes, ...) or by path."""
    epochs: int = 15
    """Passes over the training examples."""
    batch_size: int = 128
    """Examples in one step."""
    clean_epochs: int = 1
    """Number of last epochs without augmentation."""
    optimizer: Literal["adamw", "nesterov", "muon"] = "adamw"
    """AdamW, SGD with Nesterov momentum, or Muon (for kernels that mix features, else AdamW)."""
    learning_rate: float = 4e-2
    """Peak of the learning rate schedule."""
    schedule: Literal["one_cycle", "cosine"] = "one_cycle"
    """Learning rate: rises for a fifth of the run and then falls to 0, or falls from the start."""
    weight_decay: float = 1e-2
    """Weight decay of the arrays that --decay selects."""
    decay: Literal["kernels", "mixing", "all"] = "kernels"
    """Arrays with weight decay: kernels, kernels except depthwise ones (mixing), or all arrays."""
    clip_norm: float = 0.0
    """Largest global norm of the gradient, to which larger ones are scaled down; 0 for no limit."""
    ema_decay: float = 0.999
    """Decay of the exponential moving average of the weights, after the first steps; 0 for none."""
    sparsity: float = 0.0
    """Share of the entries of kernels (except depthwise ones) that become zero, the smallest ones,
    between a fifth and seven tenths of the run; 0 for none."""
    kernel_bits: int = 0
    """Bits of the integers to which kernels are rounded in each step, each out-feature with a scale
    (quantisation-aware training), from 2 to 16; 0 for floats."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type that the network computes in; its parameters stay in float32."""
    accumulate: int = 1
    """Number of parts in which a batch is computed, one after the other, to save memory."""
    evaluate: Literal["ema", "final", "best"] = "final"
    """Weights to report: moving average, last step, or best epoch (requires --validation)."""
    on_nan: Literal["stop", "rollback"] = "stop"
    """If a loss or gradient is not finite: stop, or resume from a checkpoint with other batches."""
    seed: int = 0
    """Seed of the parameters, the order of the examples and their augmentation."""
    seeds: int = 1
    """Number of runs, with seeds seed, seed + 1, ...; each writes to a folder of its own."""
    validation: int = 0
    """Number of training examples held out; the score on them is shown after each epoch. By default
    those of the data set's own split validation, if it has one."""
    limit: int = 0
    """Number of training examples to use, from the first on, for a quick trial; 0 for all."""
    output: Path
    """Folder for the results."""
    resume: bool = False
    """Continue the run in the output folder, with the flags it was started with."""
    init: str | None = None
    """Folder of a trained run, from whose reported weights this new run starts, or a file of
    dilax.models.save. If the number of classes is another one, the head is drawn at random."""
    device: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """Kind of device to compute on; auto is the kind that JAX prefers."""
    devices: int = 0
    """Number of devices that share a batch; 0 for the largest number that divides the batch."""
    parallel: Literal["jit", "pmap"] = "jit"
    """How to use several devices: jax.jit with sharded arrays, or jax.pmap."""
    batch_statistics: Literal["global", "device"] = "global"
    """Examples that batch normalisation averages: the batch, or (pmap only) the device's share."""
    shard_optimizer: bool = False
    """Shard the state of the optimiser over the devices (with --parallel jit only)."""
    stream: bool = False
    """Keep the examples on the host and send them in chunks, if device memory cannot hold them."""
    distributed: bool = False
    """Train in several processes, as set up by Slurm, a TPU pod, or the flag --coordinator."""
    coordinator: str | None = None
    """With --distributed: host:port of the first process, if no cluster provides it."""
    processes: int = 0
    """With --coordinator: the number of processes."""
    process: int = 0
    """With --coordinator: the number of this process, from 0."""
    tensorboard: bool = False
    """Also write the metrics of each epoch for TensorBoard."""
    pictures: bool = True
    """Draw learning curves, and what the trained network does."""

    def __post_init__(self) -> None:
        """Check all values."""
        for name in ("epochs", "batch_size", "seeds", "accumulate"):
            self.require(name, getattr(self, name) >= 1, "at least 1")
        self.require("seed", self.seed + self.seeds <= MOST_SEEDS, f"below {MOST_SEEDS:,}")
        for name in (
            "seed",
            "validation",
            "limit",
            "clean_epochs",
            "devices",
            "processes",
            "process",
        ):
            self.require(name, getattr(self, name) >= 0, "0 or more")
        for name in ("ema_decay", "sparsity"):
            self.require(name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        self.require("kernel_bits", self.kernel_bits in (0, *range(2, 17)), "0 or from 2 to 16")
        self.require("learning_rate", 0 < self.learning_rate < math.inf, "positive")
        for name in ("weight_decay", "clip_norm"):
            self.require(name, 0 <= getattr(self, name) < math.inf, "0 or more")
        by_device = self.batch_statistics == "device"
        self.require("batch_statistics", not by_device or self.parallel == "pmap", GLOBAL)
        self.require(
            "shard_optimizer", not self.shard_optimizer or self.parallel == "jit", REPLICAS
        )
        found = not self.tensorboard or importlib.util.find_spec("tensorboardX") is not None
        self.require("tensorboard", found, INSTALLED)
        self.require("coordinator", self.coordinator is None or self.distributed, JOINED)
        port = "" if self.coordinator is None else self.coordinator.rpartition(":")[2]
        valid = self.coordinator is None or (port.isdecimal() and int(port) < 2**16)
        self.require("coordinator", valid and port != self.coordinator, ADDRESS)
        for name in ("processes", "process"):
            self.require(name, not getattr(self, name) or self.coordinator is not None, NUMBERED)

    def require_positive(self, name: str) -> None:
        """Raise ValueError for a flag of several integers unless all are positive."""
        self.require(name, all(value >= 1 for value in getattr(self, name)), "positive integers")

    def require(self, name: str, holds: bool, requirement: str) -> None:
        """Raise a ValueError about the flag ``name`` unless ``holds``."""
        if not holds:
            raise ValueError(f"{flag_of(name)} must be {requirement}, got {getattr(self, name)}.")

    def network_options(self) -> dict[str, Any]:
        """Return arguments of the network for ``models.create``, besides ``classes``."""
        return {}

    def run_folders(self) -> dict[int, Path]:
        """Return the folder of the run of each seed."""
        if self.seeds == 1:
            return {self.seed: self.output}
        seeds = range(self.seed, self.seed + self.seeds)
        return {seed: self.output / f"seed_{seed}" for seed in seeds}

    def as_arguments(self) -> list[str]:
        """Return the flags as a command line, without those at their defaults."""
        arguments = []
        for field in dataclasses.fields(self):
            value, flag = getattr(self, field.name), flag_of(field.name)
            if value == field.default:
                continue
            if isinstance(value, bool):
                arguments.append(flag if value else f"--no-{flag[2:]}")
            else:
                values = value if isinstance(value, tuple) else (value,)
                arguments += [flag, *map(str, values)]
        return arguments

    def as_json(self) -> dict[str, Any]:
        """Convert the flags to a JSON object."""
        return dataclasses.asdict(self) | {"output": str(self.output)}


def flag_of(name: str) -> str:
    """Return the flag of a field."""
    return "--" + name.replace("_", "-")
