"""A folder of pictures with boxes of objects, as COCO's JSON or as Pascal VOC's XML files."""

import concurrent.futures
import dataclasses
import json
import math
import os
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from dilax._checks import check_instance, integer
from dilax.data._dataset import DataError, SplitDataset, check_size
from dilax.data._pictures import PictureOptions, read_pixels
from dilax.data._splits import SPLITS, hold_out

JSON, XML, IMAGES = "annotations.json", "Annotations", "images"
VOC_IMAGES = "JPEGImages"
_SIDES = ("top", "left", "bottom", "right")


class _Marked(NamedTuple):
    """A picture with the boxes of its objects."""

    picture: Path
    where: str
    """The file that has the boxes, for messages."""
    boxes: np.ndarray
    """``(M, 4)``: top, left, bottom and right, in pixels of the picture."""
    names: list[str]
    """The class of each box."""


@dataclasses.dataclass(frozen=True, eq=False)
class BoxedSplit:
    """The images of one split, and the boxes of their objects.

    Attributes:
        images: uint8 ``(N, H, W, C)``.
        boxes: float32 ``(N, M, 4)``: top, left, bottom and right in pixels, the last two behind the
            object; zeros where there is no further object.
        labels: int32 ``(N, M)``: classes, -1 where there is no further object.

    Raises:
        DataError: A dtype or a shape differs from these.

    >>> images, boxes = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 5, 4), np.float32)
    >>> len(BoxedSplit(images, boxes, np.full((2, 5), -1, np.int32)))
    2
    """

    images: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        forms = {"images": (np.uint8, 4), "boxes": (np.float32, 3), "labels": (np.int32, 2)}
        for name, (dtype, ndim) in forms.items():
            array = getattr(self, name)
            check_instance(array, np.ndarray, name)
            if array.dtype != dtype or array.ndim != ndim:
                raise DataError(
                    f"{name} must be {np.dtype(dtype)} with {ndim} axes, got {array.dtype} "
                    f"{array.shape}."
                )
        if self.boxes.shape != (*self.labels.shape, 4) or len(self.images) != len(self.labels):
            raise DataError(
                "images, boxes (N, M, 4) and labels (N, M) must be equally many, got "
                f"{self.images.shape}, {self.boxes.shape} and {self.labels.shape}."
            )

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True, eq=False)
class BoxedDataset(SplitDataset):
    """A named set of images with boxes, held in memory.

    Attributes:
        name: The name by which it was asked for.
        splits: A :class:`BoxedSplit` by its name (``"train"``, ``"test"``, ...).
        class_names: The name of each class, in the order of the labels.
        source: Where the arrays came from, for records of experiments.

    >>> images, boxes = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 5, 4), np.float32)
    >>> split = BoxedSplit(images, boxes, np.full((2, 5), -1, np.int32))
    >>> len(BoxedDataset("toy", {"train": split}, ("cat",), source="by hand").fingerprint)
    64
    """

    splits: Mapping[str, BoxedSplit]


def load_boxes(path: str | os.PathLike[str], *, pictures: PictureOptions) -> BoxedDataset:
    """Load a folder of pictures with boxes of their objects.

    The folder has COCO's ``annotations.json`` beside ``images``, or Pascal VOC's ``Annotations``
    beside ``JPEGImages``; or ``train`` and ``test`` (and ``validation``) with one of these; without
    ``test``, a share of the pictures is held out. Each picture is made smaller or larger until its
    longer side is ``pictures.size``, and black is added at the bottom or on the right; boxes move
    with it.

    Args:
        path: The folder.
        pictures: Size, colours, and the share held out.

    Returns:
        The images and boxes of all splits; classes in the order of COCO's identifiers, or of VOC's
        names.

    Raises:
        DataError: A file cannot be read or is missing, a box is empty or outside its picture, or a
            class is only in other splits than ``train``; the message names the file.
        ValueError: ``pictures`` has no size.
        TypeError: ``pictures`` are no options.
    """
    check_instance(pictures, PictureOptions, "pictures")
    if pictures.size is None:
        raise ValueError("pictures must have a size, got None; give PictureOptions(size=...).")
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder} must be a folder with {JSON} or {XML}, got no folder.")
    marked = {name: _read_marks(each) for name, each in _split_folders(folder).items()}
    source = f"{folder}, resized to {pictures.size} pixels on the longer side"
    names = _class_names(marked["train"])
    if "test" not in marked:
        marked |= hold_out(
            marked["train"],
            share=pictures.test_share,
            seed=pictures.seed,
            path=folder,
            what="pictures",
        )
        source += f", {pictures.test_share:.0%} held out as test (seed {pictures.seed})"
    total = sum(map(len, marked.values())) * pictures.size**2 * pictures.channels
    check_size(total, f"the pictures of {folder}")
    most = max(1, *(len(one.names) for each in marked.values() for one in each))
    splits = {name: _read_split(each, pictures, names, most) for name, each in marked.items()}
    return BoxedDataset(folder.resolve().name, splits, names, source=source)


def _split_folders(folder: Path) -> dict[str, Path]:
    def holds(each: Path) -> bool:
        return (each / JSON).is_file() or (each / XML).is_dir()

    if holds(folder):
        return {"train": folder}
    found = {name: folder / name for name in SPLITS if holds(folder / name)}
    if "train" not in found:
        raise DataError(
            f"{folder} must have {JSON} and {IMAGES}, or {XML} and {VOC_IMAGES}, or a folder train "
            "with these, got neither."
        )
    return found


def _read_marks(folder: Path) -> list[_Marked]:
    """Read the boxes of all pictures of a folder, and check them."""
    marked = _read_coco(folder) if (folder / JSON).is_file() else _read_voc(folder)
    if not marked:
        raise DataError(f"{folder} must hold pictures with boxes, got none.")
    return sorted(marked)


def _read_coco(folder: Path) -> list[_Marked]:
    path = folder / JSON
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {one["id"]: one["name"] for one in content["categories"]}
        boxes: dict[Any, list[tuple[str, list[float]]]] = {
            one["id"]: [] for one in content["images"]
        }
        for one in content["annotations"]:
            left, top, width, height = map(float, one["bbox"])
            box = [top, left, top + height, left + width]
            boxes[one["image_id"]].append((names[one["category_id"]], box))
        files = {one["id"]: folder / IMAGES / one["file_name"] for one in content["images"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} must be COCO's JSON with images, annotations and categories, got "
            f"{type(error).__name__}: {error}."
        ) from error
    return [_marked(files[key], str(path), boxes[key]) for key in files]


def _read_voc(folder: Path) -> list[_Marked]:
    found = []
    for path in sorted((folder / XML).glob("*.xml")):
        try:
            root = ElementTree.parse(path).getroot()
            file = folder / VOC_IMAGES / _text(root, "filename")
            boxes = []
            for each in root.iter("object"):
                sides = {
                    name: float(_text(each, f"bndbox/{name}"))
                    for name in ("xmin", "ymin", "xmax", "ymax")
                }
                box = [sides["ymin"] - 1, sides["xmin"] - 1, sides["ymax"], sides["xmax"]]
                boxes.append((_text(each, "name"), box))
        except (OSError, ValueError, ElementTree.ParseError) as error:
            raise DataError(f"{path} must be an XML file of Pascal VOC, got {error}.") from error
        found.append(_marked(file, str(path), boxes))
    return found


def _text(node: ElementTree.Element, path: str) -> str:
    found = node.findtext(path)
    if not found:
        raise ValueError(f"no {path}")
    return found.strip()


def _marked(picture: Path, where: str, boxes: Sequence[tuple[str, Sequence[float]]]) -> _Marked:
    """Check a picture and its boxes; VOC's pixels are counted from 1, and become from 0."""
    if not picture.is_file():
        raise DataError(f"{where} names the picture {picture}, which is missing.")
    array = np.asarray([box for _, box in boxes], np.float64).reshape(-1, 4)
    for (name, _), box in zip(boxes, array, strict=True):
        if not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
            raise DataError(
                f"{where}: each box must have a height and a width above 0, got {_shown(box)} of "
                f"{name!r} in {picture.name}."
            )
    return _Marked(picture, where, array, [name for name, _ in boxes])


def _shown(box: np.ndarray) -> str:
    return ", ".join(f"{side} {value:g}" for side, value in zip(_SIDES, box, strict=True))


def _class_names(marked: Sequence[_Marked]) -> tuple[str, ...]:
    names = sorted({name for one in marked for name in one.names})
    if not names:
        raise DataError(f"{marked[0].where} must have boxes to learn from, got none.")
    return tuple(names)


def _read_split(
    marked: Sequence[_Marked], options: PictureOptions, names: tuple[str, ...], most: int
) -> BoxedSplit:
    """Decode the pictures of a split in threads; the first that cannot be used ends it."""
    size = integer(options.size, "size")
    images = np.zeros((len(marked), size, size, options.channels), np.uint8)
    boxes = np.zeros((len(marked), most, 4), np.float32)
    labels = np.full((len(marked), most), -1, np.int32)

    def read(place: int) -> None:
        one = marked[place]
        if unknown := sorted(set(one.names) - set(names)):
            raise DataError(
                f"{one.where} has the class {unknown[0]!r}, which no picture of train has; are the "
                "names written alike?"
            )
        images[place], scaled = _letterboxed(one, options, size)
        boxes[place, : len(scaled)] = scaled
        labels[place, : len(scaled)] = [names.index(name) for name in one.names]

    with (
        warnings.catch_warnings(action="ignore"),
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as executor,
    ):
        for _ in executor.map(read, range(len(marked))):
            pass
    return BoxedSplit(images, boxes, labels)


def _letterboxed(one: _Marked, options: PictureOptions, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Read a picture into a square, from its top left corner; return it and its scaled boxes."""
    pixels = read_pixels(
        one.picture, size=None, channels=options.channels, background=options.background
    )
    height, width = pixels.shape[:2]
    limits = np.asarray([height, width, height, width])
    outside = (one.boxes < -1) | (one.boxes > limits + 1)
    if outside.any():
        box = one.boxes[np.flatnonzero(outside.any(axis=1))[0]]
        raise DataError(
            f"{one.where}: each box must lie inside its picture, got {_shown(box)} in "
            f"{one.picture.name} of {height}x{width} pixels."
        )
    scale = size / max(height, width)
    shape = tuple(max(1, math.floor(scale * side + 0.5)) for side in (height, width))
    picture = Image.fromarray(pixels[..., 0] if options.channels == 1 else pixels)
    resized = np.asarray(picture.resize(shape[::-1], Image.Resampling.BICUBIC))
    square = np.zeros((size, size, options.channels), np.uint8)
    square[: shape[0], : shape[1]] = resized.reshape(*shape, options.channels)
    factors = np.asarray([*shape, *shape]) / limits
    return square, np.clip(one.boxes, 0, limits) * factors
