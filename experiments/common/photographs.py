"""What the program of super-resolution does with photographs: find, shrink, cut, judge and draw."""

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from PIL import Image

from common.job import Examples
from common.terminal import stage
from dilax import data, models, training
from dilax.training import Batch

INSTALL = 'pip install "dilax-jax[photographs]"'
HELD_OUT = "final or ema without held-out photographs, or add --validation 2"
SPLITS = ("train", "test")
TEST_SHARE = 0.2
"""Share of the pictures of a folder that is held out, if it has no folder ``test``."""
MOST_DRAWN = 4
DRAWN = 96
"""Side of what is drawn of a photograph, in pixels of the truth."""

Pictures = Mapping[str, np.ndarray]
"""By name uint8 ``(H, W, 3)``."""


class Split(NamedTuple):
    """Photographs by name."""

    train: Pictures
    test: Pictures
    source: str


def of_scikit_image(names: Mapping[str, Sequence[str]]) -> Split:
    """Read photographs of scikit-image's own wheel by the names of their files.

    Raises:
        ValueError: scikit-image is not installed.
    """
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise ValueError(
            f"--dataset photographs needs scikit-image, which has them; {INSTALL}, or give a "
            "folder of pictures."
        )
    folder = Path(found.origin).parent / "data"
    parts = {
        split: data.read_pictures([folder / name for name in files])
        for split, files in names.items()
    }
    named = {split: by_name(parts[split]) for split in SPLITS}
    return Split(named["train"], named["test"], "those that scikit-image comes with")


def of_folder(folder: Path) -> Split:
    """Read the pictures of ``train`` and ``test``, or of one folder, of which some are held out.

    Raises:
        ValueError: There is no such folder, or it has fewer than two pictures.
    """
    if not folder.is_dir():
        raise ValueError(f"--dataset must be photographs, or a folder of pictures, got {folder}.")
    if all((folder / split).is_dir() for split in SPLITS):
        train, test = (by_name(data.read_pictures([folder / split])) for split in SPLITS)
        return Split(train, test, str(folder))
    found = by_name(data.read_pictures([folder]))
    if len(found) < 2:
        raise ValueError(f"--dataset {folder} must have two pictures, one to test on, got one.")
    order = np.random.default_rng(0).permutation(len(found))
    count = max(round(TEST_SHARE * len(found)), 1)
    held = {name for n, name in enumerate(found) if n in order[:count]}
    train = {name: picture for name, picture in found.items() if name not in held}
    test = {name: found[name] for name in found if name in held}
    return Split(train, test, f"{folder}, {TEST_SHARE:.0%} held out as test (seed 0)")


def by_name(pictures: Mapping[Path, np.ndarray]) -> dict[str, np.ndarray]:
    """Name pictures by their files, without what all paths begin with."""
    stems = [path.stem for path in pictures]
    unique = len(set(stems)) == len(stems)
    names = stems if unique else [str(path) for path in pictures]
    return dict(zip(names, pictures.values(), strict=True))


def make_examples(config: Any, found: Split) -> Examples:
    """Hold photographs out for validation, and cut the others into patches.

    Raises:
        ValueError: No photograph is left to train on, or one is smaller than a patch.
    """
    learned, held = hold_out(config, found.train)
    check_sizes(config, {**found.train, **found.test})
    with stage("cutting patches", show=training.is_main_process()):
        patches = cut_all(config, learned, config.patches)
        held_out = cut_all(config, held, config.patches // 10)
    tests = [pair_of(picture, config.scale) for picture in found.test.values()]
    side = config.small_size
    size = f"{side * config.scale}x{side * config.scale}"
    return Examples(
        name=Path(config.dataset).resolve().name,
        source=f"{config.patches} patches of {size} of {len(learned)} pictures: {found.source}",
        sha256=fingerprint([patches, held_out, *tests]),
        train=patches.take(slice(config.limit or None)),
        held_out=held_out,
        test=tests[0],
        more_tests=tuple(tests[1:]),
        test_names=tuple(found.test),
        preparation=models.Preparation(
            height=side, width=side, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
        ),
    )


def hold_out(config: Any, pictures: Pictures) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Split photographs into those to train on and the last ones, which are held out.

    Raises:
        ValueError: No photograph is left to train on.
    """
    count = len(pictures) - config.validation
    if count < 1:
        raise ValueError(
            f"--validation must leave photographs to train on, got {config.validation} of "
            f"{len(pictures)}."
        )
    config.require("evaluate", config.evaluate != "best" or config.validation > 0, HELD_OUT)
    listed = list(pictures.values())
    return listed[:count], listed[count:]


def check_sizes(config: Any, pictures: Pictures) -> None:
    """Refuse pictures that are smaller than a patch."""
    for name, picture in pictures.items():
        height, width = picture.shape[:2]
        if min(height, width) // config.scale < config.small_size:
            raise ValueError(
                f"--small-size must be at most the sides of all pictures, divided by "
                f"{config.scale}, got {config.small_size} and, in {name}, {width}x{height}."
            )


def cut_all(config: Any, pictures: Sequence[np.ndarray], count: int) -> Batch:
    """Cut patches at random places, equally many of each picture, in a random order."""
    random = np.random.default_rng(0)
    shares = np.array_split(np.arange(count), max(len(pictures), 1))
    side, scale = config.small_size, config.scale
    none = (np.empty((0, each, each, 3), np.uint8) for each in (side, side * scale))
    parts = [Batch(*none)]
    for picture, share in zip(pictures, shares, strict=False):
        if not len(share):
            continue
        parts.append(cut(random, pair_of(picture, scale), len(share), side=side, scale=scale))
    joined = Batch(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    return joined.take(random.permutation(joined.size))


def cut(random: np.random.Generator, whole: Batch, count: int, *, side: int, scale: int) -> Batch:
    """Cut patches of one picture, of ``side`` pixels in its inputs."""
    size = side * scale
    rows, columns = (
        random.integers(0, length - side + 1, count) for length in whole.inputs.shape[1:3]
    )
    pairs = [
        (
            whole.inputs[0, row : row + side, column : column + side],
            whole.targets[0, scale * row :, scale * column :][:size, :size],
        )
        for row, column in zip(rows, columns, strict=True)
    ]
    return Batch(*(np.stack(arrays) for arrays in zip(*pairs, strict=True)))


def pair_of(picture: np.ndarray, scale: int) -> Batch:
    """Shrink a picture, whose sides are cropped to multiples of the scale: a batch of one pair."""
    height, width = (side - side % scale for side in picture.shape[:2])
    target = picture[:height, :width]
    return Batch(shrink(target, scale)[np.newaxis], target[np.newaxis])


def shrink(picture: np.ndarray, scale: int) -> np.ndarray:
    """Shrink a picture bicubically, with a window as wide as the scale, so that nothing aliases.

    >>> shrink(np.zeros((8, 12, 3), np.uint8), 2).shape
    (4, 6, 3)
    """
    size = (picture.shape[1] // scale, picture.shape[0] // scale)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def enlarge(picture: np.ndarray, scale: int) -> np.ndarray:
    """Enlarge a picture bicubically: what a network is compared with."""
    size = (picture.shape[1] * scale, picture.shape[0] * scale)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def fingerprint(batches: Sequence[Batch]) -> str:
    """Compute the SHA-256 of all arrays, in order, and their shapes."""
    digest = hashlib.sha256()
    for array in jax.tree.leaves(list(batches)):
        digest.update(f"{array.dtype.str} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def turn(key: Array, *images: Array) -> list[Array]:
    """Turn and mirror square images together, to one of eight positions drawn at random."""
    ways = jax.random.randint(key, (3,), 0, 2)

    def turned(image: Array) -> Array:
        for way, move in zip(ways, (flip_rows, flip_columns, transpose), strict=True):
            image = jax.numpy.where(way, move(image), image)
        return image

    return [turned(image) for image in images]


def flip_rows(images: Array) -> Array:
    """Mirror images top to bottom."""
    return images[:, ::-1]


def flip_columns(images: Array) -> Array:
    """Mirror images left to right."""
    return images[:, :, ::-1]


def transpose(images: Array) -> Array:
    """Mirror square images about their diagonal."""
    return images.swapaxes(1, 2)


class Restored(NamedTuple):
    """One test photograph: what the network was given, what it made of it, and the truth."""

    name: str
    given: np.ndarray
    """uint8 ``(1, h, w, 3)``, as are the others, which are larger."""
    plain: np.ndarray
    """Its bicubic enlargement."""
    found: np.ndarray
    truth: np.ndarray

    @property
    def scale(self) -> int:
        """The factor of enlargement."""
        return self.truth.shape[1] // self.given.shape[1]

    def judged(self) -> dict[str, Any]:
        """Compute PSNR and SSIM of the network's enlargement and of the bicubic one."""
        kinds = {"psnr": training.psnr, "ssim": training.ssim}
        images = {"": self.found, "bicubic_": self.plain}
        measured = {
            f"{which}{name}": float(measure(each, self.truth, border=self.scale)[0])
            for which, each in images.items()
            for name, measure in kinds.items()
        }
        return {"name": self.name, "images": 1, **measured}


def restored(examples: Examples, decoded: Any) -> list[Restored]:
    """Pair the test photographs with the decoded outputs of the network."""
    tests = (examples.test, *examples.more_tests)
    outputs = decoded if isinstance(decoded, list) else [decoded]
    rows = zip(examples.test_names, tests, outputs, strict=True)
    return [
        Restored(
            name, given, enlarge(given[0], truth.shape[1] // given.shape[1])[None], ours, truth
        )
        for name, (given, truth), ours in rows
    ]


def draw(path: Path, photographs: Sequence[Restored]) -> None:
    """Draw the middle of test photographs: shrunk, enlarged bicubically, by the network, truth."""
    from matplotlib.figure import Figure

    drawn = photographs[:MOST_DRAWN]
    figure = Figure(figsize=(9, 2.4 * len(drawn)), dpi=120, layout="constrained")
    grid = figure.subplots(len(drawn), 4, squeeze=False)
    for line, one in zip(grid, drawn, strict=True):
        numbers = one.judged()
        shown = {
            "input": one.given.repeat(one.scale, axis=1).repeat(one.scale, axis=2),
            f"bicubic\n{numbers['bicubic_psnr']:.2f} dB": one.plain,
            f"network\n{numbers['psnr']:.2f} dB": one.found,
            "truth": one.truth,
        }
        for axes, (title, picture) in zip(line, shown.items(), strict=True):
            axes.imshow(middle(picture[0]), interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.set_title(title, fontsize=9)
        line[0].set_ylabel(one.name)
    figure.savefig(path)


def write(folder: Path, found: models.Enlarged) -> None:
    """Write enlarged pictures as ``NAME.png``; of equal names, with a number."""
    folder.mkdir(parents=True, exist_ok=True)
    names: dict[str, int] = {}
    for path, image in zip(found.paths, found.images, strict=True):
        names[path.stem] = names.get(path.stem, 0) + 1
        number = f"_{names[path.stem]}" if names[path.stem] > 1 else ""
        pixels = image[..., 0] if image.shape[-1] == 1 else image
        Image.fromarray(pixels).save(folder / f"{path.stem}{number}.png")


def middle(picture: np.ndarray) -> np.ndarray:
    """Crop the middle of a picture."""
    top, left = (max(side - DRAWN, 0) // 2 for side in picture.shape[:2])
    return picture[top : top + DRAWN, left : left + DRAWN]
