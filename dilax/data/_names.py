"""The data sets known by name: their classes, sizes and, where published, their checksums."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dilax.data._dataset import DataError, Dataset


@dataclasses.dataclass(frozen=True)
class KnownSet:
    """What is known of a data set, and must hold for any set of its name.

    Attributes:
        title: What it shows, in a few words.
        class_names: The name of each class, in the order of the labels.
        image_shape: ``(H, W, C)`` of every image.
        counts: How many examples each split has.
        checksums: The SHA-256 of ``"<split>_images"`` and ``"<split>_labels"``, as uint8 arrays in
            C order with the examples in the order of the published files; empty where none is
            known.
        installed: Where this package, or one of the operating system, puts the published arrays.
    """

    title: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    counts: Mapping[str, int]
    checksums: Mapping[str, str] = dataclasses.field(default_factory=dict)
    installed: Path | None = None


_FASHION_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100_CLASSES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
    camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
    cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
    lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
    oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
    possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
    spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
    train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

_MNIST_COUNTS = {"train": 60_000, "test": 10_000}
_CIFAR_COUNTS = {"train": 50_000, "test": 10_000}

KNOWN_SETS: Mapping[str, KnownSet] = {
    "mnist": KnownSet(
        title="handwritten digits; embedded in the package",
        class_names=tuple("0123456789"),
        image_shape=(28, 28, 1),
        counts=_MNIST_COUNTS,
        checksums={
            "train_images": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
            "train_labels": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
            "test_images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
            "test_labels": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
        },
        installed=Path(__file__).with_name("mnist.npz"),
    ),
    "fashion_mnist": KnownSet(
        title="articles of clothing",
        class_names=_FASHION_CLASSES,
        image_shape=(28, 28, 1),
        counts=_MNIST_COUNTS,
        checksums={
            "train_images": "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
            "train_labels": "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
            "test_images": "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
            "test_labels": "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
        },
        installed=Path("/usr/share/datasets/fashion-mnist"),
    ),
    "kmnist": KnownSet(
        title="cursive Japanese characters",
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        image_shape=(28, 28, 1),
        counts=_MNIST_COUNTS,
    ),
    "cifar10": KnownSet(
        title="colour photographs in 10 classes",
        class_names=tuple(_CIFAR10_CLASSES.split()),
        image_shape=(32, 32, 3),
        counts=_CIFAR_COUNTS,
        checksums={
            "train_images": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
            "train_labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
            "test_images": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
            "test_labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
        },
    ),
    "cifar100": KnownSet(
        title="colour photographs in 100 classes",
        class_names=tuple(_CIFAR100_CLASSES.split()),
        image_shape=(32, 32, 3),
        counts=_CIFAR_COUNTS,
    ),
}


def check_known(data: Dataset, *, file_order: bool = False) -> Dataset:
    """Compare a data set with what is known of its name, and return it unchanged.

    Args:
        data: The set; one whose name is not in ``KNOWN_SETS`` is not checked.
        file_order: Whether the examples are in the order of the published files, so that their
            checksums are known.

    Raises:
        DataError: The counts, the image shape, the number of classes or a checksum differ.
    """
    known = KNOWN_SETS.get(data.name)
    if known is None:
        return data
    _check_equal(data, "image shape", data.image_shape, known.image_shape)
    _check_equal(data, "class count", len(data.class_names), len(known.class_names))
    counts = {name: len(split) for name, split in data.splits.items()}
    _check_equal(data, "examples in each split", counts, dict(known.counts))
    for array_name, expected in known.checksums.items() if file_order else ():
        _check_equal(data, f"SHA-256 of {array_name}", _checksum(data, array_name), expected)
    return data


def _checksum(data: Dataset, array_name: str) -> str:
    split_name, _, kind = array_name.rpartition("_")
    array = getattr(data.splits[split_name], kind)
    return hashlib.sha256(np.ascontiguousarray(array, dtype=np.uint8).data).hexdigest()


def _check_equal(data: Dataset, what: str, found: object, expected: object) -> None:
    if found != expected:
        raise DataError(
            f"{data.name} from {data.source} is not the published set: its {what} must be "
            f"{expected}, got {found}; get it again, or load the files by their path."
        )
