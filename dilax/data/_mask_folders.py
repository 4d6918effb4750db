"""A folder of pictures with masks, which say the class of each pixel.

Either ``images/NAME.jpg`` and ``masks/NAME.png``, or these two folders in ``train`` and ``test``.
"""

import concurrent.futures
import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dilax._checks import check_instance, integer
from dilax.data._dataset import DataError, SplitDataset, check_size
from dilax.data._finding import is_picture
from dilax.data._pictures import FORMATS, PictureOptions, read_picture
from dilax.data._splits import SPLITS, few, hold_out

IMAGES, MASKS, NAMES = "images", "masks", "classes.txt"
VOID = 255
"""The value of pixels without a class."""
_MASK_MODES = ("P", "L", "1")


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedSplit:
    """The images of one split, and the class of each of their pixels.

    Attributes:
        images: uint8 ``(N, H, W, C)``.
        masks: uint8 ``(N, H, W)``: indices into the class names, or 255 for none.

    Raises:
        DataError: A dtype or a shape differs from these.

    >>> MaskedSplit(np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 8), np.uint8)).masks.shape
    (2, 8, 8)
    """

    images: np.ndarray
    masks: np.ndarray

    def __post_init__(self) -> None:
        for name in ("images", "masks"):
            check_instance(getattr(self, name), np.ndarray, name)
        shape = (self.images.dtype, self.masks.dtype, self.images.shape[:3])
        if self.images.ndim != 4 or shape != (np.uint8, np.uint8, self.masks.shape):
            raise DataError(
                "images must be uint8 (N, H, W, C) and masks uint8 (N, H, W), got "
                f"{self.images.dtype} {self.images.shape} and {self.masks.dtype} "
                f"{self.masks.shape}."
            )

    def __len__(self) -> int:
        return len(self.masks)


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedDataset(SplitDataset):
    """A named set of images with masks, held in memory.

    Attributes:
        name: The name by which it was asked for.
        splits: A :class:`MaskedSplit` by its name (``"train"``, ``"test"``, ...).
        class_names: The name of each class, in the order of the values of masks.
        source: Where the arrays came from, for records of experiments.

    Raises:
        DataError: A mask has a value that is no class.

    >>> split = MaskedSplit(np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 8), np.uint8))
    >>> len(MaskedDataset("toy", {"train": split}, ("ground",), source="by hand").fingerprint)
    64
    """

    splits: Mapping[str, MaskedSplit]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, split in self.splits.items():
            found = np.unique(split.masks)
            if unknown := [value for value in found if len(self.class_names) <= value != VOID]:
                raise DataError(
                    f"masks of {self.name}/{name} must have values from 0 to "
                    f"{len(self.class_names) - 1}, or {VOID}, got {unknown[0]}."
                )


def load_masks(path: str | os.PathLike[str], *, pictures: PictureOptions) -> MaskedDataset:
    """Load a folder of pictures with masks, which say the class of each pixel.

    The folder has ``images`` and ``masks``, or ``train`` and ``test`` (and ``validation``) with
    these two; without ``test``, a share of the pictures is held out. The mask of ``NAME.jpg`` is
    ``NAME.png`` with palette or grey values: the index of the class, or 255 for none. The file
    ``classes.txt`` has the name of each class in a line; without it they have numbers. The middle
    of each picture is cropped and resized to ``pictures.size``, and so is that of its mask, where
    each pixel takes the nearest value.

    Args:
        path: The folder.
        pictures: Size, colours, and the share held out.

    Returns:
        The images and masks of all splits.

    Raises:
        DataError: A picture or a mask cannot be read, is missing, or of another size or kind, or a
            mask has a value that is no class; the message names the file.
        ValueError: ``pictures`` has no size.
        TypeError: ``pictures`` are no options.
    """
    check_instance(pictures, PictureOptions, "pictures")
    if pictures.size is None:
        raise ValueError("pictures must have a size, got None; give PictureOptions(size=...).")
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder} must be a folder with {IMAGES} and {MASKS}, got no folder.")
    pairs = {name: _find_pairs(each) for name, each in _split_folders(folder).items()}
    source = f"{folder}, {pictures.description}"
    if "test" not in pairs:
        pairs |= hold_out(
            pairs["train"],
            share=pictures.test_share,
            seed=pictures.seed,
            path=folder,
            what="pictures",
        )
        source += f", {pictures.test_share:.0%} held out as test (seed {pictures.seed})"
    names = _read_names(folder)
    total = sum(map(len, pairs.values())) * pictures.size**2 * (pictures.channels + 1)
    check_size(total, f"the pictures and masks of {folder}")
    splits = {name: _read_pairs(each, pictures, names) for name, each in pairs.items()}
    if names is None:
        masks = [split.masks for split in splits.values()]
        last = max(int(mask[mask != VOID].max(initial=0)) for mask in masks)
        names = tuple(f"class {value}" for value in range(max(last, 1) + 1))
    return MaskedDataset(folder.resolve().name, splits, names, source=source)


def _split_folders(folder: Path) -> dict[str, Path]:
    if (folder / IMAGES).is_dir():
        return {"train": folder}
    found = {name: folder / name for name in SPLITS if (folder / name / IMAGES).is_dir()}
    if "train" not in found:
        raise DataError(
            f"{folder} must have the folders {IMAGES} and {MASKS}, or train with these two, got "
            f"{few(sorted(one.name for one in folder.iterdir()))}."
        )
    return found


def _find_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Find the mask of each picture."""
    pictures = sorted(file for file in (folder / IMAGES).iterdir() if is_picture(file))
    if not pictures:
        raise DataError(f"{folder / IMAGES} must hold pictures, got none.")
    pairs = [(picture, folder / MASKS / f"{picture.stem}.png") for picture in pictures]
    if missing := [mask.name for _, mask in pairs if not mask.is_file()]:
        raise DataError(
            f"{folder / MASKS} must have a mask for each picture, got none for "
            f"{few([Path(name).stem for name in missing])} (such as {missing[0]})."
        )
    return pairs


def _read_names(folder: Path) -> tuple[str, ...] | None:
    path = folder / NAMES
    if not path.is_file():
        return None
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} must be UTF-8 text with a class in each line: {error}.") from error
    while names and not names[-1]:
        names.pop()
    if len(names) < 2 or not all(names) or len(set(names)) < len(names) or len(names) > VOID:
        raise DataError(
            f"{path} must have 2 to {VOID} different names, one in each line, got {few(names)}."
        )
    return tuple(names)


def _read_pairs(
    pairs: Sequence[tuple[Path, Path]], options: PictureOptions, names: tuple[str, ...] | None
) -> MaskedSplit:
    """Decode pictures and masks in threads; the first that cannot be used ends it."""

    def read(pair: tuple[Path, Path]) -> tuple[np.ndarray, np.ndarray]:
        picture, mask = pair
        return read_picture(picture, options), _read_mask(mask, picture, options, names)

    with (
        warnings.catch_warnings(action="ignore"),
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as executor,
    ):
        found = list(executor.map(read, pairs))
    images, masks = zip(*found, strict=True)
    return MaskedSplit(np.stack(images), np.stack(masks))


def _read_mask(
    path: Path, picture: Path, options: PictureOptions, names: tuple[str, ...] | None
) -> np.ndarray:
    """Read the mask of a picture; its middle is cropped and resized as that of the picture."""
    size = integer(options.size, "size")
    with Image.open(picture, formats=FORMATS) as image:
        whole = ImageOps.exif_transpose(image).size
    try:
        with Image.open(path, formats=FORMATS) as mask:
            mode, own_size = mask.mode, mask.size
            values = mask.convert("L") if mode == "1" else mask.copy()
    except Exception as error:  # damaged files: whatever the decoders of Pillow raise
        raise DataError(f"{path} cannot be read as a mask: {error}; get it again.") from error
    if mode not in _MASK_MODES:
        raise DataError(
            f"{path} must be a PNG with palette or 8-bit grey values, which are classes, got mode "
            f"{mode}; a picture of colours is no mask: write the index of each class."
        )
    if own_size != whole:
        raise DataError(
            f"{path} must be as large as {picture.name}, {whole[0]}x{whole[1]}, got "
            f"{own_size[0]}x{own_size[1]}."
        )
    if mode == "1":
        values = values.point(lambda value: value // 255)
    array = np.asarray(values)
    known = VOID if names is None else len(names)
    if unknown := [int(value) for value in np.unique(array) if known <= value != VOID]:
        raise DataError(
            f"{path} must have values from 0 to {known - 1}, the lines of {NAMES}, or {VOID} for "
            f"none, got {unknown[0]}."
        )
    plain = Image.fromarray(array)
    return np.asarray(ImageOps.fit(plain, (size, size), Image.Resampling.NEAREST))
