"""Which words a trained network hears in a WAV file, as its sound arrives.

    python experiments/listen.py runs/speech runs/speech/heard.wav

The file is given to the network 20 ms at a time, as a microphone would, through
``dilax.inference.stream``: nothing is computed twice, and nothing is known of later sound. A line
tells each word, once a pause follows it, with the time of the answer in the file. The last line
tells how long a step takes.
"""

import interrupts

if __name__ == "__main__":
    interrupts.end_at_signals(interrupts.UNFINISHED)

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro
from common import sounds
from common.terminal import print_all_letters, say, stage
from tyro.conf import Positional

from dilax import data, models
from dilax.data._sound_files import resampling_notes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Print which words a trained network hears in a WAV file, as its sound arrives."""

    model: Positional[Path]
    """The folder of a run of speech.py, or a file of dilax.models.save."""
    sound: Positional[Path]
    """A WAV file."""
    milliseconds: int = 20
    """Length of a step; it becomes a multiple of the frames' distance."""

    def __post_init__(self) -> None:
        """Check all values."""
        if not 1 <= self.milliseconds <= 1000:
            raise ValueError(f"--milliseconds must be from 1 to 1000, got {self.milliseconds}.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    print_all_letters(sys.stdout)
    try:
        config = tyro.cli(Config, args=arguments)
        with stage("loading the network", show=sys.stdout.isatty(), keep=False):
            model = models.load(config.model)
        if not isinstance(model, models.TrainedSoundClassifier):
            raise ValueError(f"model must be a network for sounds, got {model!r}.")
        sound = data.read_sound(config.sound, rate=model.preparation.rate)
        for note in resampling_notes({config.sound: sound.file_rate}, model.preparation.rate):
            say(f"note: {note}", file=sys.stderr)
        listen(model, sound.samples, config.milliseconds)
    except (ValueError, OSError) as error:
        say(str(error), file=sys.stderr)
        return 2
    return 0


def listen(model: models.TrainedSoundClassifier, samples: np.ndarray, milliseconds: int) -> None:
    """Print the words as they come, and the time of a step."""
    pause = np.zeros(round(2 * sounds.PAUSE * model.preparation.rate), samples.dtype)
    times: list[float] = []
    samples = np.concatenate([samples, pause])
    for step in sounds.follow(model, samples, milliseconds=milliseconds):
        times.append(step.milliseconds)
        if step.word_is_over:
            best = int(step.probabilities.argmax())
            name, probability = model.class_names[best], step.probabilities[best]
            print(f"{step.seconds:7.2f} s  {name} {probability:.1%}", flush=True)
    length = sounds.step_size(model, milliseconds) * 1000 / model.preparation.rate
    print(
        f"{len(times)} steps of {length:g} ms: median {np.median(times):.2f} ms, 99 of 100 in "
        f"{np.percentile(times, 99):.2f} ms"
    )


if __name__ == "__main__":
    sys.exit(main())
