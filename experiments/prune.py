"""A trained network without the channels that matter least: smaller and faster.

    python experiments/prune.py runs/mnist_dsdc small.safetensors --share 0.5
    python experiments/mnist_dsdc.py --init small.safetensors --epochs 5 --output runs/small

The first line removes channels, chosen on training images, and writes the narrower network to a
file. Its accuracy falls; the second line trains it on.
"""

import interrupts

if __name__ == "__main__":
    interrupts.end_at_signals(interrupts.UNFINISHED)

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import tyro
from common.markdown import table
from common.terminal import print_all_letters, say, stage
from flax import nnx
from tyro.conf import Positional

from dilax import analysis, data, models


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Remove channels from a trained network, and write the narrower one to a file."""

    model: Positional[Path]
    """The folder of a run of mnist_dsdc or dsdc, or a file of dilax.models.save."""
    output: Positional[Path]
    """The file to write (.safetensors)."""
    share: float = 0.5
    """Part of the channels to keep."""
    dataset: str = "mnist"
    """Data set with the training images of the network, by name or by path."""
    images: int = 6000
    """Number of training images, drawn at random, on which the channels are chosen."""
    seed: int = 0
    """Seed of that drawing."""

    def __post_init__(self) -> None:
        """Check all values."""
        if self.images < 1:
            raise ValueError(f"--images must be at least 1, got {self.images}.")
        if self.output.suffix != ".safetensors":
            raise ValueError(f"the file to write must end in .safetensors, got {self.output.name}.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    print_all_letters(sys.stdout)
    try:
        config = tyro.cli(Config, args=arguments)
        with stage("loading the network and the images", keep=False):
            model = models.load(config.model)
            train = data.load(config.dataset).splits["train"]
            split = some(train, config.images, config.seed)
        with stage("choosing channels", keep=False):
            small = models.prune(model, config.share, split.images, split.labels)
        models.save(small, config.output)
    except (ValueError, TypeError, OSError) as error:
        say(str(error), file=sys.stderr)
        return 2
    rows = [("before", *sizes(model, split)), ("after", *sizes(small, split))]
    header = ("", "parameters", "multiply-adds", "accuracy on these training images")
    print(table(header, rows), end="")
    say(f"train it on with --model {model.description.model} --init {config.output}")
    return 0


def some(split: data.Split, count: int, seed: int) -> data.Split:
    """Draw images at random."""
    chosen = np.random.default_rng(seed).permutation(len(split))[:count]
    return data.Split(split.images[chosen], split.labels[chosen])


def sizes(model: models.TrainedClassifier, split: data.Split) -> tuple[str, str, str]:
    """Format the number of parameters, the multiply-adds of an image, and the accuracy."""
    image = jax.ShapeDtypeStruct((1, *model.preparation.image_shape), np.float32)
    params = nnx.state(model.network, nnx.Param)
    labels = model.predict(split.images, batch_size=1000).labels
    return (
        f"{analysis.parameter_count(params):,}",
        f"{analysis.multiply_adds(model.logits, image):,}",
        f"{np.mean(labels == split.labels):.2%}",
    )


if __name__ == "__main__":
    sys.exit(main())
