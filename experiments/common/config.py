"""The flags that all programs share."""

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal


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
    learning_rate: float = 4e-2
    """Peak of the one-cycle schedule."""
    weight_decay: float = 1e-2
    """Decay of kernels by AdamW."""
    label_smoothing: float = 0.0
    """Share of each target that is spread over all classes."""
    ema_decay: float = 0.999
    """Share of the moving average of the weights that each step keeps; 0 for no average."""
    evaluate: Literal["ema", "final"] = "final"
    """Weights that the reported accuracy is of: their moving average, or those of the last step."""
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
    pictures: bool = True
    """Draw learning curves, confusion matrix, mistakes and feature maps."""

    def __post_init__(self) -> None:
        """Refuse values that no run can have."""
        for name in ("epochs", "batch_size", "seeds"):
            self.require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("seed", "validation", "limit", "clean_epochs"):
            self.require(name, getattr(self, name) >= 0, "0 or more")
        for name in ("label_smoothing", "ema_decay"):
            self.require(name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        self.require("learning_rate", 0 < self.learning_rate < math.inf, "positive")
        self.require("weight_decay", 0 <= self.weight_decay < math.inf, "0 or more")

    def require(self, name: str, holds: bool, requirement: str) -> None:
        """Refuse the value of the flag `name` unless `holds`."""
        if not holds:
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag} must be {requirement}, received {getattr(self, name)}")

    def as_json(self) -> dict[str, Any]:
        """Give the flags as a JSON object."""
        return dataclasses.asdict(self) | {"output": str(self.output)}
