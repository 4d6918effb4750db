"""Sounds with labels: from a folder whose classes are folders of WAV files."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dilax._checks import LONGEST, check_instance, entries, integer, number
from dilax.data._dataset import DataError, SplitDataset
from dilax.data._sound_files import SUFFIX, fit_length, read_sound, resampling_notes
from dilax.data._splits import SPLITS, check_labels, check_place, hold_out, trained_classes

_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
"""Files that name those of a split, as Speech Commands has them."""
_SPEAKER = "_nohash_"
"""What follows the speaker in the name of a file of Speech Commands."""
_LONGEST = 3600


@dataclasses.dataclass(frozen=True, eq=False)
class SoundSplit:
    """The sounds of one split, and their labels.

    Attributes:
        sounds: int16 ``(N, samples)``.
        labels: int32 ``(N,)``, indices into the class names of the data set.

    Raises:
        DataError: A dtype or a shape differs from these, or the counts differ.

    >>> len(SoundSplit(np.zeros((2, 16_000), np.int16), np.array([1, 0], np.int32)))
    2
    """

    sounds: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        for name, kind, axes in (("sounds", np.int16, 2), ("labels", np.int32, 1)):
            array = getattr(self, name)
            found = (getattr(array, "dtype", None), getattr(array, "ndim", None))
            if found != (kind, axes) or len(array) != len(self.labels):
                raise DataError(
                    f"{name} must be {np.dtype(kind)} with {axes} axes, one row for each of the "
                    f"{len(self.labels)} labels, got {found[0]} {getattr(array, 'shape', '')}."
                )

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True, eq=False)
class SoundDataset(SplitDataset):
    """A named set of sounds with labels, held in memory.

    Attributes:
        name: The name by which it was asked for.
        splits: A :class:`SoundSplit` by its name (``"train"``, ``"test"``, ...).
        class_names: The name of each class, in the order of the labels.
        source: Where the sounds came from, for records of experiments.
        rate: Samples a second.
        notes: What a user should know of how they were read, such as what was resampled.

    Raises:
        DataError: There is one class only, or a label is no class.

    >>> split = SoundSplit(np.zeros((2, 800), np.int16), np.array([1, 0], np.int32))
    >>> len(SoundDataset("toy", {"train": split}, ("no", "yes"), source="by hand").fingerprint)
    64
    """

    splits: Mapping[str, SoundSplit]
    rate: int = 16_000
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_instance(self.splits, Mapping, "splits")
        super().__post_init__()
        object.__setattr__(self, "class_names", entries(self.class_names, "class_names", "names"))
        for name, split in self.splits.items():
            check_instance(split, SoundSplit, f"splits[{name!r}]")
        check_labels(self)


class _Named(NamedTuple):
    """A file and its class."""

    path: Path
    label: str

    @property
    def place(self) -> str:
        """Its path, for messages."""
        return str(self.path)

    @property
    def speaker(self) -> str:
        """Who speaks, as far as its name says; else the file itself."""
        before, found, _ = self.path.name.partition(_SPEAKER)
        return before if found else str(self.path)


def load_sounds(
    path: str | os.PathLike[str],
    *,
    rate: int = 16_000,
    seconds: float = 1.0,
    test_share: float = 0.2,
    seed: int = 0,
) -> SoundDataset:
    """Load sounds from a folder of WAV files, ``CLASS/NAME.wav``.

    The folder may hold ``train``, ``test`` and ``validation``, each with the folders of the
    classes; or the classes alone, and with them the lists ``testing_list.txt`` and
    ``validation_list.txt`` of Speech Commands. Without a test, a share is held out: of speakers, if
    the files are named ``SPEAKER_nohash_NUMBER.wav``, else of files. Folders that begin with ``_``
    or a dot are no classes.

    Args:
        path: The folder.
        rate: Samples a second; files of another rate are resampled, and ``notes`` say so.
        seconds: Length of each sound: shorter ones are padded at both ends, of longer ones the part
            with the most energy is taken.
        test_share: Share that is held out as the split ``test``, if there is none.
        seed: Seed of which ones are held out.

    Returns:
        The sounds and labels of all splits. Classes are in the order of their names.

    Raises:
        DataError: A file is damaged or empty, there is one class only, or a class is only tested;
            the message names the file.
        ValueError: A number is out of range.
        TypeError: ``path`` is no path, or a number is none.

    Source: the lists and names are those of P. Warden, "Speech Commands: A Dataset for
    Limited-Vocabulary Speech Recognition", 2018.
    """
    place = check_place(path, test_share)
    rate = integer(rate, "rate", minimum=1, maximum=LONGEST)
    if not 1 <= (samples := round(number(seconds, "seconds") * rate)) <= _LONGEST * rate:
        raise ValueError(
            f"seconds must be from 1 sample (1 / {rate}) to {_LONGEST}, got {seconds}."
        )
    files, source = _files(place), str(place)
    if "test" not in files:
        seed = integer(seed, "seed", minimum=0)
        files |= _held_out(files["train"], place, test_share, seed)
        source += f", {test_share:.0%} held out as test (seed {seed})"
    names = trained_classes(files, path=place, what="sounds")
    rates: dict[Path, int] = {}
    splits = {name: _read(each, names, rate, samples, rates) for name, each in files.items()}
    return SoundDataset(
        place.resolve().name,
        splits,
        names,
        source=source,
        rate=rate,
        notes=resampling_notes(rates, rate),
    )


def _files(path: Path) -> dict[str, list[_Named]]:
    """Find the files of each split."""
    if not path.is_dir():
        raise DataError(f"{path} must be a folder with a folder of WAV files for each class.")
    if (path / "train").is_dir():
        folders = [split for split in SPLITS if (path / split).is_dir()]
        return {split: _of_classes(path / split) for split in folders}
    found = _of_classes(path)
    lists = {split: path / name for split, name in _LISTS.items() if (path / name).is_file()}
    chosen = {split: _listed(file) for split, file in lists.items()}
    splits = {
        split: [each for each in found if each.path.relative_to(path).as_posix() in listed]
        for split, listed in chosen.items()
    }
    elsewhere = set().union(*chosen.values())
    rest = [each for each in found if each.path.relative_to(path).as_posix() not in elsewhere]
    return {"train": rest, **splits}


def _of_classes(folder: Path) -> list[_Named]:
    """Find ``CLASS/*.wav``."""
    found = [
        _Named(file, file.parent.name)
        for file in sorted(folder.glob("*/*"))
        if file.suffix.lower() == SUFFIX and not {file.name[0], file.parent.name[0]} & {".", "_"}
    ]
    if not found:
        raise DataError(f"{folder} must hold a folder of WAV files for each class, got none.")
    return found


def _listed(file: Path) -> set[str]:
    return set(file.read_text(encoding="utf-8").split())


def _held_out(
    files: Sequence[_Named], path: Path, share: float, seed: int
) -> dict[str, list[_Named]]:
    """Hold out a share of the speakers with all their files."""
    speakers = sorted({each.speaker for each in files})
    parts = hold_out(speakers, share=share, seed=seed, path=path, what="speakers or files")
    chosen = {split: set(names) for split, names in parts.items()}
    return {
        split: [each for each in files if each.speaker in names] for split, names in chosen.items()
    }


def _read(
    files: Sequence[_Named],
    names: Sequence[str],
    rate: int,
    samples: int,
    rates: dict[Path, int],
) -> SoundSplit:
    """Read the files of a split, and note their rates."""
    sounds = np.zeros((len(files), samples), np.int16)
    for row, file in enumerate(files):
        sound = read_sound(file.path, rate=rate)
        sounds[row] = fit_length(sound.samples, samples)
        rates[file.path] = sound.file_rate
    return SoundSplit(sounds, np.array([names.index(file.label) for file in files], np.int32))
