"""A page on which one draws a digit, and a trained network answers in the browser.

    python experiments/draw.py runs/mnist_dsdc

The network is the folder of a run on MNIST or similar digits, or a file of ``dilax.models.save``.
It is exported as ONNX, and written into a folder with the page and with onnxruntime-web, which npm
downloads once. The folder needs no network, and any web server can serve it; this program serves it
on this machine, until Ctrl-C.
"""

import interrupts

if __name__ == "__main__":
    interrupts.end_at_signals(interrupts.UNFINISHED)

import dataclasses
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import tyro
from common.classification import windowed
from common.onnx_web import CHECKSUMS, read_runtime
from common.serving import address, make_server
from common.terminal import print_all_letters, say, stage
from tyro.conf import Positional

from dilax import inference, models

PAGE = Path(__file__).with_name("drawing")
"""The page, without the network and the runtime."""
NETWORK, SETTINGS = "network.onnx", "network.json"
STEM = "stem"
"""The name of what comes before the first block of a network."""
HIGHEST_PORT = 65535


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Make a page on which a trained network answers while one draws, and show it."""

    model: Positional[Path]
    """The folder of a run on digits, or a file of dilax.models.save."""
    output: Path = Path("runs/drawing")
    """Folder to write; one that this program wrote before is replaced."""
    weights: str | None = None
    """Weights of the run: final, ema or best; by default those that its record reports."""
    runtime: Path | None = None
    """Folder with the files of onnxruntime-web; by default npm downloads them into the cache."""
    serve: bool = True
    """Serve the page on this machine, until Ctrl-C."""
    port: int = 8000
    """Port of this machine; 0 for any that is free."""

    def __post_init__(self) -> None:
        """Check all values."""
        if not 0 <= self.port <= HIGHEST_PORT:
            raise ValueError(f"--port must be in 0 to {HIGHEST_PORT}, got {self.port}.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    print_all_letters(sys.stdout)
    try:
        config = tyro.cli(Config, args=arguments)
        check_folder(config.output)
        with stage("loading the network", keep=False):
            model = models.load(config.model, weights=config.weights)
        check_digits(model)
        with stage("reading onnxruntime-web", keep=False):
            runtime = read_runtime(config.runtime)
        with stage("exporting the network", keep=False):
            files = {**read_page(), **export(model), **runtime}
        write_folder(config.output, files)
        size = sum(map(len, files.values())) / 1e6
        say(f"wrote {config.output} ({len(files)} files, {size:.1f} MB)")
        if config.serve:
            serve(config.output, config.port)
    except (ValueError, OSError) as error:
        say(str(error), file=sys.stderr)
        return 2
    return 0


def check_folder(output: Path) -> None:
    """Refuse a folder that holds what this program did not write.

    Raises:
        ValueError: It is a file, or holds other files.
    """
    if not output.exists():
        return
    own = {NETWORK, SETTINGS, *CHECKSUMS, *(path.name for path in PAGE.iterdir())}
    other = sorted({path.name for path in output.iterdir()} - own) if output.is_dir() else [output]
    if other:
        raise ValueError(
            f"--output must be a new folder, or one that this program wrote, got {output}, which "
            f"{f'holds {other[0]}' if output.is_dir() else 'is a file'}."
        )


def check_digits(model: models.TrainedClassifier) -> None:
    """Refuse a network that a drawing is nothing to.

    Raises:
        ValueError: It does not take a bright object on black, as digits of MNIST are.
    """
    height, width, channels = model.preparation.image_shape
    classifies = isinstance(model, models.TrainedClassifier)
    if not classifies or model.preparation.object_size is None or channels != 1:
        raise ValueError(
            "the network must have been trained to classify bright digits on black, all of one "
            f"size, as those of MNIST are, got {model.description.model} for other images of "
            f"{height}x{width}x{channels}; train one with: python experiments/mnist_dsdc.py"
        )


def first_block(model: models.TrainedClassifier) -> str | None:
    """Return the name of the first layer after the stem whose output is an image; None if none."""
    layers = windowed(model.network.activations)
    image = jax.ShapeDtypeStruct((1, *model.preparation.image_shape), jnp.float32)
    return next((name for name in jax.eval_shape(layers, image) if name != STEM), None)


def answering(model: models.TrainedClassifier) -> Callable[[jax.Array], tuple[jax.Array, ...]]:
    """Return a function of images that gives the probabilities and the output of the first block.

    Images ``(N, H, W, 1)`` are floats in [0, 1]. The probabilities are ``(N, classes)``, and the
    output of the block ``(N, h, w, features)``, if there is one.
    """
    block = first_block(model)

    def answers(images: jax.Array) -> tuple[jax.Array, ...]:
        probabilities = jax.nn.softmax(model.logits(images))
        if block is None:
            return (probabilities,)
        layers = model.network.activations(model.preparation.normalise(images))
        return probabilities, layers[block]

    return answers


def export(model: models.TrainedClassifier) -> dict[str, bytes]:
    """Return the network as ONNX, for one image, and as JSON what the page has to know of it.

    Raises:
        ExportError: jax2onnx is missing, or does not know a layer.
    """
    preparation = model.preparation
    settings = {
        "model": model.description.model,
        "classes": model.class_names,
        "height": preparation.height,
        "width": preparation.width,
        "objectSize": preparation.object_size,
        "block": first_block(model),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, NETWORK)
        inference.export(answering(model), path, (1, *preparation.image_shape))
        return {NETWORK: path.read_bytes(), SETTINGS: json.dumps(settings, indent=2).encode()}


def read_page() -> dict[str, bytes]:
    """Read the files of the page."""
    return {path.name: path.read_bytes() for path in sorted(PAGE.iterdir())}


def write_folder(output: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder whole or not at all; an older one is replaced in the end."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as place:
        new = Path(place, output.name)
        new.mkdir()
        for name, content in files.items():
            (new / name).write_bytes(content)
        if output.exists():
            shutil.rmtree(output)
        os.replace(new, output)


def serve(folder: Path, port: int) -> None:
    """Serve a folder until the program is stopped."""
    with make_server(folder, port) as server:
        interrupts.say_when_interrupted(lambda: "the page is no longer served")
        say(f"draw at {address(server)}   (Ctrl-C ends it)")
        server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
