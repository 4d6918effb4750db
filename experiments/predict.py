"""What a trained network sees in pictures or videos, reads in texts or series, or hears in sounds.

    python experiments/predict.py runs/mnist_dsdc digit.png photos/ --top 3 --csv answers.csv
    python experiments/predict.py runs/video clip.mp4 --draw answers.png
    python experiments/predict.py runs/text "A warm, funny film."
    python experiments/predict.py runs/speech recordings/ yes.wav
    python experiments/predict.py runs/time_series OSULeaf_TEST.ts

The network is the folder of a run, or a file of ``dilax.models.save``. Pictures may have any size
and any of the usual formats, and a folder stands for all pictures in it. For each picture a line
gives the most probable classes or, of a network that finds the class of each pixel, the classes
with the most pixels; of one that finds objects, these; of one that enlarges pictures, the new size.
A picture that cannot be read is named, and the others are answered. Of a network for videos,
inputs are videos, folders of frames, and folders of either. Of a network for texts, each
text is followed by its most probable classes and by the words that moved the answer most: towards
the first class (+), or away from it (-). Of a network for sounds, WAV files and folders of them are
answered as pictures are. Of a network for time series, each line of a ``.ts`` file
is answered by its most probable classes.
"""

import interrupts

if __name__ == "__main__":
    interrupts.end_at_signals(interrupts.UNFINISHED)

import csv
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro
from common import photographs, segments, videos
from common.terminal import print_all_letters, say, stage
from rich.progress import Progress
from tyro.conf import Positional

from dilax import models, training

Answers = models.Predictions | models.Segments | models.Enlarged | models.Objects
MOST_DRAWN = 60
"""Most pictures that --draw shows, the first ones."""
MOST_WORDS = 6
"""Most words that are printed for a text."""
FEW = 64
"""Number of pictures up to which no progress bar is shown."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Print what a trained network sees in pictures, reads in texts, or hears in sounds."""

    model: Positional[Path]
    """The folder of a run, or a file of dilax.models.save."""
    inputs: Positional[tuple[str, ...]]
    """Pictures, videos or sounds, folders of them, texts in quotation marks, or .ts files."""
    top: int = 1
    """Number of classes to print for each input, the most probable first."""
    weights: str | None = None
    """Weights of the run: final, ema or best; by default those that its record reports."""
    csv: Path | None = None
    """File for a table: each picture, its first class, and the probability of every class, or its
    share of the pixels."""
    masks: Path | None = None
    """Folder for the class of each pixel, for each picture a PNG whose values are classes."""
    images: Path | None = None
    """Folder for the enlarged pictures, as PNG."""
    draw: Path | None = None
    """File (.png) that shows the first 60 pictures, as the network gets them, and the answers."""
    batch_size: int = 64
    """Number of pictures that are computed together."""

    def __post_init__(self) -> None:
        """Check all values."""
        for name in ("top", "batch_size"):
            if getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise ValueError(f"--{flag} must be at least 1, got {getattr(self, name)}.")
        if not self.inputs:
            raise ValueError("give at least one picture, sound, folder of them, or text, got none.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status.

    The status is 0 if every picture was answered, 1 if some could not be read, and 2 if nothing
    could be done.
    """
    print_all_letters(sys.stdout)
    try:
        config = tyro.cli(Config, args=arguments)
        with stage("loading the network", show=sys.stdout.isatty(), keep=False):
            model = models.load(config.model, weights=config.weights)
        if isinstance(model, models.TrainedTextClassifier):
            return answer_texts(model, config)
        if isinstance(model, models.TrainedTagger):
            return tag_texts(model, config)
        if isinstance(model, models.TrainedSeriesClassifier):
            return answer_series(model, config)
        if config.masks is not None and not isinstance(model, models.TrainedSegmenter):
            raise ValueError(
                "--masks must be left out with a network that finds no class of each pixel, got "
                f"{config.masks} with {model.description.model}."
            )
        if isinstance(model, models.TrainedSoundClassifier) and config.draw is not None:
            raise ValueError(
                f"--draw must be left out with a network for sounds, got {config.draw}."
            )
        check_enlarged(model, config)
        found = predict(model, config)
        write(model, found, config)
        show(found, config.top)
    except BrokenPipeError:  # as of ``| head``
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        say(str(error), file=sys.stderr)
        return 2
    for note in found.notes if isinstance(found, models.Predictions) else ():
        say(f"note: {note}", file=sys.stderr)
    for _, reason in found.unread:
        say(f"left out: {reason}", file=sys.stderr)
    return 1 if found.unread else 0


def answer_texts(model: models.TrainedTextClassifier, config: Config) -> int:
    """Print the classes of each text, and the words that moved the answer; return the status.

    Raises:
        ValueError: A text is empty, or a flag is for pictures.
    """
    check_flags_for_texts(config)
    found = model.predict(config.inputs, batch_size=config.batch_size)
    for text, answers in zip(config.inputs, found.top(config.top), strict=True):
        words = sorted(model.explain(text), key=lambda word: -abs(word.score))[:MOST_WORDS]
        print(text)
        print(f"  {'  '.join(in_words(answers))}")
        print(f"  words: {', '.join(f'{word.word} {word.score:+.2f}' for word in words)}")
    return 0


def check_enlarged(model: models.TrainedNetwork, config: Config) -> None:
    """Refuse flags that do not fit a network that enlarges pictures, or one that does not.

    Raises:
        ValueError: A flag does not fit the network.
    """
    enlarges = isinstance(model, models.TrainedSuperResolver)
    if config.images is not None and not enlarges:
        raise ValueError(
            f"--images must be left out with a network that enlarges no pictures, got "
            f"{config.images} with {model.description.model}."
        )
    if enlarges and (config.csv is not None or config.draw is not None):
        raise ValueError(
            "--csv and --draw must be left out with a network that enlarges pictures, which has "
            f"no classes, got {config.csv or config.draw}; give --images."
        )


def tag_texts(model: models.TrainedTagger, config: Config) -> int:
    """Print the parts of each text; return the status.

    Raises:
        ValueError: A text is empty, or a flag is for pictures.
    """
    check_flags_for_texts(config)
    found = model.predict(config.inputs, batch_size=config.batch_size)
    for place, text in enumerate(config.inputs):
        print(text)
        for label, words in found.parts(place):
            print(f"  {label}: {words}")
    return 0


def answer_series(model: models.TrainedSeriesClassifier, config: Config) -> int:
    """Print the classes of each series of files; return the status.

    Raises:
        ValueError: A file is damaged, or a flag is for pictures.
    """
    check_flags_for_texts(config, what="time series")
    for path in config.inputs:
        found = model.predict(path, batch_size=config.batch_size)
        for place, answers in enumerate(found.top(config.top), start=1):
            print(f"{path}, series {place}  {'  '.join(in_words(answers))}")
    return 0


def check_flags_for_texts(config: Config, *, what: str = "texts") -> None:
    """Refuse flags that only networks for pictures have."""
    for name in ("csv", "masks", "draw", "images"):
        if getattr(config, name) is not None:
            raise ValueError(f"--{name} must be left out with a network for {what}.")


def predict(model: models.TrainedNetwork, config: Config) -> Answers:
    """Ask the network; a progress bar shows how many of many pictures are answered."""
    paths = [Path(each) for each in config.inputs]
    with Progress(transient=True, disable=not sys.stdout.isatty()) as bar:
        task = bar.add_task("pictures", total=None, visible=False)

        def on_progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=total > FEW)

        if isinstance(model, models.TrainedSoundClassifier):
            return model.predict(paths, batch_size=config.batch_size)
        if isinstance(model, models.TrainedClassifier):
            return model.predict(paths, batch_size=config.batch_size, on_progress=on_progress)
        kinds = models.TrainedSegmenter | models.TrainedSuperResolver | models.TrainedDetector
        assert isinstance(model, kinds)
        return model.predict(paths, on_progress=on_progress)


def write(model: models.TrainedNetwork, found: Answers, config: Config) -> None:
    """Write the files that the flags ask for."""
    if isinstance(found, models.Enlarged):
        if config.images is not None:
            photographs.write(config.images, found)
        return
    if isinstance(found, models.Objects):
        if config.csv is not None:
            write_boxes(config.csv, found)
        return
    if config.csv is not None:
        write_table(config.csv, found)
    if config.masks is not None and isinstance(found, models.Segments):
        segments.write_masks(config.masks, found)
    if config.draw is None:
        return
    if isinstance(found, models.Segments):
        segments.draw_answers(config.draw, found, most=MOST_DRAWN)
    else:
        draw(config.draw, model, found, config.top)


def show(found: Answers, top: int) -> None:
    """Print a line for each picture."""
    width = max((len(str(path)) for path in found.paths), default=0)
    if isinstance(found, models.Enlarged):
        for path, image in zip(found.paths, found.images, strict=True):
            print(f"{path!s:{width}}  {image.shape[1]}x{image.shape[0]}", flush=True)
        return
    if isinstance(found, models.Objects):
        for place, path in enumerate(found.paths):
            marks = [f"{name} {score:.1%}" for name, score, _ in found.named(place)]
            print(f"{path!s:{width}}  {'  '.join(marks) or 'nothing'}", flush=True)
        return
    for path, answers in zip(found.paths, found.top(top), strict=True):
        print(f"{path!s:{width}}  {'  '.join(in_words(answers))}", flush=True)


def in_words(answers: Sequence[tuple[str, float]]) -> list[str]:
    """Format classes with their probabilities, or shares of pixels."""
    return [f"{name} {probability:.1%}" for name, probability in answers]


def write_boxes(path: Path, found: models.Objects) -> None:
    """Write class, probability and box of each object of each picture as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["picture", "class", "probability", "top", "left", "bottom", "right"])
        for place, picture in enumerate(found.paths):
            for name, score, box in found.named(place):
                table.writerow([picture, name, f"{score:.6f}", *(f"{side:.1f}" for side in box)])


def write_table(path: Path, found: models.Predictions | models.Segments) -> None:
    """Write the first class and the numbers of all classes of each picture as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["picture", "class", *found.class_names])
        for picture, answers in zip(found.paths, found.top(len(found.class_names)), strict=True):
            numbers = dict(answers)
            row = (f"{numbers[name]:.6f}" for name in found.class_names)
            table.writerow([picture, answers[0][0], *row])


def draw(path: Path, model: models.TrainedNetwork, found: models.Predictions, top: int) -> None:
    """Draw the inputs of the network with its answers; of a video, some frames side by side."""
    drawn = list(zip(found.paths, found.top(top), strict=True))[:MOST_DRAWN]
    images: list[np.ndarray] = [model.preparation.from_file(one) for one, _ in drawn]
    parts = [[one.name, *in_words(answers)] for one, answers in drawn]
    if isinstance(model, models.TrainedVideoClassifier):
        videos.draw_strips(path, images, ["  ".join(each) for each in parts])
        return
    titles = ["\n".join(each) for each in parts]
    training.draw_predictions(path, images, titles, most=MOST_DRAWN)


if __name__ == "__main__":
    sys.exit(main())
