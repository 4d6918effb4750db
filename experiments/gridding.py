"""Compare schedules of dilations, in pictures and numbers, by the inputs that they touch.

    python experiments/gridding.py

The program writes ``report.md`` with a table of the schedules, and three pictures: the receptive
field growing over an image, how often each offset is touched, and how much each input weighs in a
network of random kernels.
"""

import interrupts

if __name__ == "__main__":
    interrupts.end_at_signals(interrupts.UNFINISHED)

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from common.markdown import table as markdown
from common.terminal import say

import dilax
from dilax import analysis, data

FEATURES = 8
HEADER = (
    "dilations",
    "receptive field",
    "offsets touched along an axis",
    "share of the square touched",
    "unevenness",
    "effective radius",
    "radius of 90 % of the weight",
)
PICTURES = {
    "growing.png": "The receptive field growing over an image, layer by layer. Bright pixels are "
    "touched; the frame is the receptive field.",
    "coverage.png": "How often each offset of the receptive field is touched. Offsets that are "
    "never touched are white.",
    "effective.png": "How much each input weighs in a network of random kernels, by its gradient; "
    "the circle has the root mean square radius.",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Compare schedules of dilations, in pictures and a short report."""

    schedules: tuple[str, ...] = ("2,2,2", "1,2,3", "1,2,5", "1,2,9", "2,4,8")
    """Dilations of each schedule, one for each layer, separated by commas."""
    kernel_size: int = 3
    """Number of taps of every kernel along each axis."""
    images: int = 8
    """Number of random images over which gradients are averaged."""
    networks: int = 4
    """Number of random networks over which gradients are averaged."""
    seed: int = 0
    """Seed of the networks and the images."""
    output: Path = Path("runs/gridding")
    """Folder for the report and its pictures."""

    def dilations(self) -> dict[str, tuple[int, ...]]:
        """Parse the dilations of each schedule; keys are the schedules as given."""
        return {name: _dilations(name) for name in self.schedules}


def _dilations(schedule: str) -> tuple[int, ...]:
    try:
        dilations = tuple(int(dilation) for dilation in schedule.split(","))
    except ValueError:
        dilations = ()
    if not dilations or min(dilations) < 1:
        raise ValueError(
            f"--schedules must be positive integers separated by commas, such as 1,2,5, got "
            f"{schedule!r}."
        )
    return dilations


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    config = tyro.cli(Config, args=arguments, description=Config.__doc__)
    try:
        schedules = config.dilations()
        config.output.mkdir(parents=True, exist_ok=True)
        report = compare(config, schedules)
    except (ValueError, OSError) as error:
        say(" ".join(str(error).split()), file=sys.stderr)
        return 2
    path = config.output / "report.md"
    path.write_text(report, encoding="utf-8")
    print(f"report  {path}")
    return 0


def compare(config: Config, schedules: Mapping[str, tuple[int, ...]]) -> str:
    """Draw the pictures, and return the report."""
    layers = {
        name: layers_of(config.kernel_size, dilations) for name, dilations in schedules.items()
    }
    fields = {name: effective_field(config, dilations) for name, dilations in schedules.items()}
    analysis.pictures.growing_fields(config.output / "growing.png", example_image(), layers)
    analysis.pictures.coverage_maps(config.output / "coverage.png", layers)
    analysis.pictures.effective_fields(config.output / "effective.png", fields)
    rows = [row(name, layers[name], fields[name]) for name in schedules]
    return "\n\n".join(
        [
            "# What dilation touches",
            f"Each schedule is a stack of {config.kernel_size} x {config.kernel_size} kernels with "
            f"the given dilations.",
            markdown(HEADER, rows),
            *(f"![{text}]({name})\n\n{text}" for name, text in PICTURES.items()),
            proposals(config.kernel_size, schedules),
        ]
    ) + "\n"  # fmt: skip


def layers_of(kernel_size: int, dilations: Sequence[int]) -> list[analysis.Layer]:
    """Return the layers of a schedule, with two window axes."""
    return [
        analysis.Layer((kernel_size, kernel_size), kernel_dilation=dilation)
        for dilation in dilations
    ]


def example_image() -> np.ndarray:
    """Draw an image of the shapes data set at twice its size, as background of the fields."""
    image = data.shapes(train_count=1, test_count=0).splits["train"].images[0]
    return np.asarray(image.repeat(2, axis=0).repeat(2, axis=1))


def effective_field(config: Config, dilations: Sequence[int]) -> analysis.EffectiveField:
    """Average the effective field of random networks with these dilations, on random images."""
    side = 2 * ((config.kernel_size - 1) * sum(dilations) // 2) + 3
    key, images_key = jax.random.split(jax.random.key(config.seed))
    images = jax.random.normal(images_key, (config.images, side, side, 1))
    keys = jax.random.split(key, config.networks)

    fields = [
        analysis.effective_receptive_field(network(one, config.kernel_size, dilations), images)
        for one in keys
    ]
    weights = np.mean([field.weights for field in fields], axis=0)
    return analysis.EffectiveField(weights, fields[0].position)


def network(key: jax.Array, kernel_size: int, dilations: Sequence[int]) -> "Network":
    """Create a random network: a convolution for each dilation, with rectifiers between them."""
    kernels, features = [], 1
    for one in jax.random.split(key, len(dilations)):
        shape = (kernel_size, kernel_size, features, FEATURES)
        kernels.append(jax.nn.initializers.he_normal()(one, shape))
        features = FEATURES
    return Network(tuple(kernels), tuple(dilations))


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """Dilated convolutions with rectifiers between them."""

    kernels: tuple[jax.Array, ...]
    dilations: tuple[int, ...]

    def __call__(self, x: jax.Array) -> jax.Array:
        """Compute the features of each pixel."""
        for number, (kernel, dilation) in enumerate(zip(self.kernels, self.dilations, strict=True)):
            x = jnp.maximum(x, 0) if number else x
            x = dilax.conv(x, kernel, kernel_dilation=dilation)
        return x


def row(
    name: str, layers: Sequence[analysis.Layer], field: analysis.EffectiveField
) -> tuple[str, ...]:
    """Format a row of the table, for one schedule."""
    found = analysis.coverage(layers)
    along = analysis.coverage(
        [analysis.Layer(layer.kernel_size[:1], 1, layer.kernel_dilation) for layer in layers]  # type: ignore[index]
    )
    return (
        name,
        str(along.size[0]),
        str(along.touched),
        f"{found.share:.1%}",
        f"{found.unevenness:.2f}",
        f"{field.radius:.2f}",
        f"{field.radius_of_share(0.9):.2f}",
    )


def proposals(kernel_size: int, schedules: Mapping[str, tuple[int, ...]]) -> str:
    """List schedules without holes, of the same depth and at least the same receptive field."""
    lines = [
        "Schedules that touch every offset, of the same depth and at least the same receptive "
        "field (in brackets):",
        "",
    ]
    for name, dilations in schedules.items():
        target = 1 + (kernel_size - 1) * sum(dilations)
        lines.append(f"- {name} ({target}): {_proposed(kernel_size, len(dilations), target)}")
    return "\n".join(lines)


def _proposed(kernel_size: int, depth: int, target: int) -> str:
    if target > kernel_size**depth:
        return f"none; {depth} layers without holes see at most {kernel_size**depth}"
    found = analysis.hybrid_dilation(kernel_size, depth, target, most=3)
    return "; ".join(",".join(map(str, dilations)) for dilations in found)


if __name__ == "__main__":
    sys.exit(main())
