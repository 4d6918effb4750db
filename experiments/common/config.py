"""The flags that all programs share."""

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal

HELD_OUT = "final or ema without held-out images; --validation 5000 holds some out"
GLOBAL = "global with --parallel jit, where a batch is one; --parallel pmap has replicas"
REPLICAS = "left out with --parallel pmap, where each device has a whole replica"
JOINED = "given together with --distributed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The flags that all programs share."""

    model: str
    """Network to train, by its name in dilax.models."""
    dataset: str
    """Data set, by name (mnist, fashion_mnist, shapes, ...) or by path."""
    epochs: int = 15
    """Passes over the training images."""
    batch_size: int = 128
    """Images in one step."""
    clean_epochs: int = 1
    """Last epochs, in which the images are not augmented."""
    optimizer: Literal["adamw", "nesterov", "muon"] = "adamw"
    """AdamW, stochastic gradient descent with Nesterov momentum, or Muon (AdamW where no features
    are mixed)."""
    learning_rate: float = 4e-2
    """Peak of the schedule."""
    schedule: Literal["one_cycle", "cosine"] = "one_cycle"
    """The learning rate rises for a fifth of the run and falls to 0, or falls from the start."""
    weight_decay: float = 1e-2
    """Decay of what --decay says."""
    decay: Literal["kernels", "mixing", "all"] = "kernels"
    """All kernels decay; those that mix features, which depthwise ones do not; or every array."""
    clip_norm: float = 0.0
    """Longest gradient, all parameters together; longer ones are shortened. 0 for any length."""
    label_smoothing: float = 0.0
    """Share of each target that is spread over all classes."""
    mixup: float = 0.0
    """Parameter of the beta distribution by which pairs of images are blended; 0 for none."""
    ema_decay: float = 0.999
    """Share of the moving average of the weights that each step keeps; 0 for no average."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """What the network computes in; its parameters stay in float32."""
    accumulate: int = 1
    """Parts of a batch that are computed one after the other, to save memory."""
    evaluate: Literal["ema", "final", "best"] = "final"
    """Weights that the reported accuracy is of: their moving average, those of the last step, or
    those of the epoch of the best accuracy on the held-out images of --validation."""
    test_flips: bool = False
    """Predict with the mean of the logits of each image and its mirror image."""
    on_nan: Literal["stop", "rollback"] = "stop"
    """When a loss or gradient is not finite: stop, or go on from the last save in another order."""
    seed: int = 0
    """Seed of the parameters, the order of the images and their augmentation."""
    seeds: int = 1
    """How many runs to make, with seed, seed + 1, ...; each in a folder of its own."""
    validation: int = 0
    """Training images held out to choose flags by; the accuracy on them is shown each epoch."""
    limit: int = 0
    """Train on the first so many images only, for a dry run; 0 for all."""
    output: Path
    """Folder for the results."""
    resume: bool = False
    """Continue the run in the output folder, with the flags it was started with."""
    device: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """Where to compute; auto is the kind that JAX prefers."""
    devices: int = 0
    """How many devices share a batch; 0 for all, or as many as divide it."""
    parallel: Literal["jit", "pmap"] = "jit"
    """One program that XLA splits over the devices, or a replica of the weights on each."""
    batch_statistics: Literal["global", "device"] = "global"
    """What batch normalisation sees: the whole batch, or (pmap only) each device its own share."""
    shard_optimizer: bool = False
    """Let each device keep a share of what the optimiser remembers (jit only)."""
    stream: bool = False
    """Keep the images on the host and send chunks: for sets larger than the device's memory."""
    distributed: bool = False
    """Be one process of many, as Slurm or a TPU pod says it, or the next three flags."""
    coordinator: str | None = None
    """With --distributed: host:port of the first process, where no cluster says it."""
    processes: int = 0
    """With --coordinator: how many processes there are."""
    process: int = 0
    """With --coordinator: which of them this is, from 0."""
    pictures: bool = True
    """Draw learning curves, confusion matrix, mistakes and feature maps."""

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        for name in ("epochs", "batch_size", "seeds", "accumulate"):
            self.require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("seed", "validation", "limit", "clean_epochs", "devices", "processes"):
            self.require(name, getattr(self, name) >= 0, "0 or more")
        for name in ("label_smoothing", "ema_decay"):
            self.require(name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        self.require("learning_rate", 0 < self.learning_rate < math.inf, "positive")
        for name in ("weight_decay", "clip_norm", "mixup"):
            self.require(name, 0 <= getattr(self, name) < math.inf, "0 or more")
        self.require("evaluate", self.evaluate != "best" or self.validation > 0, HELD_OUT)
        by_device = self.batch_statistics == "device"
        self.require("batch_statistics", not by_device or self.parallel == "pmap", GLOBAL)
        self.require(
            "shard_optimizer", not self.shard_optimizer or self.parallel == "jit", REPLICAS
        )
        self.require("coordinator", self.coordinator is None or self.distributed, JOINED)

    def require(self, name: str, holds: bool, requirement: str) -> None:
        """Refuse the value of the flag `name` unless `holds`."""
        if not holds:
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag} must be {requirement}, received {getattr(self, name)}")

    def as_json(self) -> dict[str, Any]:
        """Give the flags as a JSON object."""
        return dataclasses.asdict(self) | {"output": str(self.output)}
