"""How well a network that was trained on MNIST reads digits on paper.

    python experiments/mnist_dsdc.py && python experiments/benchmarks/paper_digits.py

MNIST's test digits are drawn as ink on paper of another brightness, in another size and place, in
uneven light, with noise, with thinner and thicker pens, and as JPEG; the ten digits are also
printed in many fonts. The record ``experiments/results/paper_digits.json`` has the accuracy on each
kind of picture twice: with the preparation of ``dilax.models``, which finds the object, and with
pictures that are only resized. What the preparation does was chosen on digits of the training set.
"""

import contextlib
import dataclasses
import functools
import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import benchmark
import numpy as np
import scipy.ndimage
from PIL import Image, ImageDraw, ImageFont

from dilax import data, models

Draw = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""Makes a grey picture ``(H, W)``, uint8, of a digit ``(28, 28)`` in [0, 1]."""
FONTS = ("DejaVu*.ttf", "STIXGeneral*.ttf")
"""Fonts that come with Matplotlib."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Flags):
    """Measure how well a network reads digits on paper, and write a record."""

    model: Path = Path("runs/mnist_dsdc")
    """The folder of a run on MNIST, or a file of dilax.models.save."""
    split: Literal["test", "train"] = "test"
    """Whose digits to draw; the training set is for choosing how pictures are prepared."""
    digits: int = 1000
    """Number of digits for each kind of picture, the first ones."""
    seed: int = 0
    """Seed of places, sizes, brightness and noise."""


def measure(config: Config) -> benchmark.Record:
    """Draw all kinds of pictures and let the network read them."""
    finds = models.load(config.model)
    resizes = only_resizing(finds)
    split = data.load("mnist").splits[config.split]
    digits, labels = split.images[: config.digits, ..., 0] / 255, split.labels[: config.digits]
    random = np.random.default_rng(config.seed)
    pictures = {name: ([draw(d, random) for d in digits], labels) for name, draw in DRAWN.items()}
    pictures["printed in many fonts"] = printed(random)
    return {
        "model": finds.description.model,
        "rows": [compare(name, *drawn, finds, resizes) for name, drawn in pictures.items()],
    }


def compare(
    name: str,
    pictures: list[np.ndarray],
    labels: np.ndarray,
    finds: models.TrainedClassifier,
    resizes: models.TrainedClassifier,
) -> dict[str, Any]:
    """Measure the accuracy on one kind of picture; one without an object counts as wrong."""
    right = {
        key: float(np.mean(predict(model, pictures) == labels))
        for key, model in (("found", finds), ("resized", resizes))
    }
    return {"name": name, "accuracy": right, "n": len(labels)}


def predict(model: models.TrainedClassifier, pictures: list[np.ndarray]) -> np.ndarray:
    """Return the label of each picture; -1 if no object is found."""
    labels = np.full(len(pictures), -1)
    images = {}
    for place, picture in enumerate(pictures):
        with contextlib.suppress(data.DataError):
            images[place] = model.preparation.from_array(picture[..., np.newaxis])
    labels[[*images]] = model.predict(np.stack([*images.values()])).labels
    return labels


def only_resizing(model: models.TrainedClassifier) -> models.TrainedClassifier:
    """Return the same network for pictures whose object is not sought."""
    plain = dataclasses.replace(model.preparation, object_size=None)
    description = dataclasses.replace(model.description, preparation=plain)
    return models.TrainedClassifier(model.network, description)


# --- kinds of pictures ----------------------------------------------------------------------------


def pixels(values: np.ndarray) -> np.ndarray:
    """Round brightness in [0, 1] to 8 bits."""
    return np.clip(255 * values, 0, 255).round().astype(np.uint8)


def on_paper(
    digit: np.ndarray,
    random: np.random.Generator,
    *,
    ink: tuple[float, float] = (0.0, 0.3),
    paper: tuple[float, float] = (0.75, 1.0),
    scale: tuple[float, float] = (3, 9),
    room: float = 1.6,
) -> np.ndarray:
    """Draw ink on paper, enlarged, at a random place of a page ``room`` times as large."""
    side = round(28 * random.uniform(*scale))
    large = np.asarray(
        Image.fromarray(pixels(digit)).resize((side, side), Image.Resampling.BICUBIC)
    )
    page = round(room * side)
    covered = np.zeros((page, page))
    top, left = random.integers(0, page - side + 1, 2)
    covered[top : top + side, left : left + side] = large / 255
    dark, light = random.uniform(*ink), random.uniform(*paper)
    return covered * dark + (1 - covered) * light


def inverted(digit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw black on white, at MNIST's own size and place."""
    return pixels(1 - digit)


def plainly(digit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw on paper in even light."""
    return pixels(on_paper(digit, random))


def chalk(digit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw bright on dark."""
    return pixels(on_paper(digit, random, ink=(0.7, 1.0), paper=(0.0, 0.3)))


def small(digit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw small on a large page."""
    return pixels(on_paper(digit, random, scale=(2, 3), room=6))


def tight(digit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw on paper that is cut off at the digit's own edges, less two pixels."""
    rows, columns = (np.flatnonzero((digit > 0.2).any(axis=axis)) for axis in (1, 0))
    part = digit[max(rows[0] - 1, 0) : rows[-1] + 2, max(columns[0] - 1, 0) : columns[-1] + 2]
    height, width = part.shape
    image = Image.fromarray(pixels(1 - part)).resize((5 * width, 5 * height))
    return np.asarray(image)


def photographed(digit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw in uneven light, with noise, and compress as JPEG."""
    values = on_paper(digit, random)
    side = len(values)
    rows, columns = np.meshgrid(*2 * [np.linspace(-1, 1, side)], indexing="ij")
    slope = random.uniform(-0.25, 0.25, 2)
    lit = values * (0.8 + slope[0] * rows + slope[1] * columns)
    noisy = lit + random.normal(0, 0.02, lit.shape)
    file = io.BytesIO()
    Image.fromarray(pixels(noisy)).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


def thin(digit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw with a pen of half the width, on paper."""
    return pixels(_on_paper_by(scipy.ndimage.grey_erosion, digit, random))


def thick(digit: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw with a pen of one and a half times the width, on paper."""
    return pixels(_on_paper_by(scipy.ndimage.grey_dilation, digit, random))


def _on_paper_by(
    change: Callable[..., np.ndarray], digit: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Change the width of strokes by about a pixel of MNIST, and draw on paper."""
    fine = scipy.ndimage.zoom(digit, 4, order=1)
    changed = change(fine, size=(5, 5))
    coarse = changed.reshape(28, 4, 28, 4).mean(axis=(1, 3))
    return on_paper(np.clip(coarse, 0, 1), random)


def printed(random: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """Print the ten digits in many fonts, black on white."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    files = [path for pattern in FONTS for path in sorted(folder.glob(pattern))]
    fonts = [path for path in files if "Display" not in path.name]  # which have no digits
    found, labels = [], []
    for path in fonts:
        font = ImageFont.truetype(str(path), 90)
        for label in range(10):
            image = Image.new("L", (160, 160), 255)
            place = tuple(random.integers(20, 60, 2).tolist())
            ImageDraw.Draw(image).text(place, str(label), fill=0, font=font)
            found.append(np.asarray(image))
            labels.append(label)
    return found, np.asarray(labels)


DRAWN: Mapping[str, Draw] = {
    "as in MNIST": lambda digit, random: pixels(digit),
    "black on white": inverted,
    "on paper": plainly,
    "bright on dark": chalk,
    "photographed": photographed,
    "small on a large page": small,
    "cut off at the edges": tight,
    "thin pen": thin,
    "thick pen": thick,
}


# --- the table ------------------------------------------------------------------------------------


def section(record: benchmark.Record) -> str:
    """Make the table of accuracies."""
    rows = [
        (
            row["name"],
            *(f"{row['accuracy'][key]:.1%}" for key in ("found", "resized")),
            f"{row['n']:,}",
        )
        for row in record["rows"]
    ]
    table = benchmark.table(("digits", "accuracy", "only resized", "pictures"), rows)
    return f"`{record['model']}`, {benchmark.where(record)}.\n\n{table}"


main = functools.partial(benchmark.run, Config, measure, section)

if __name__ == "__main__":
    sys.exit(main())
