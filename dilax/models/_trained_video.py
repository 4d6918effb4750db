"""A trained classifier of videos, with how they become its input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dilax.data._videos import find_clips
from dilax.models._trained import Predictions, TrainedClassifier, as_paths
from dilax.models._video_preparation import VideoPreparation, as_clips


class TrainedVideoClassifier(TrainedClassifier):
    """A trained classifier of videos, its classes, and how videos become its input.

    ``load`` creates it from the folder of a run or from a file.

    Args:
        network: The network with its weights; it is set to evaluation mode.
        description: What it is.

    >>> from dilax.models import Description
    >>> preparation = VideoPreparation(frames=4, height=16, width=16, mean=(0.1,), std=(0.3,))
    >>> description = Description(
    ...     model="video_dsdc", task="video_classification", class_names=("left", "right"),
    ...     preparation=preparation, options={"widths": (4, 4, 4), "kernel_dilation": ()},
    ... )
    >>> model = TrainedVideoClassifier(description.create(), description)
    >>> model.predict(np.zeros((5, 9, 30, 40, 3), np.uint8)).probabilities.shape
    (5, 2)
    """

    task = "video_classification"
    network: Any

    def __repr__(self) -> str:
        height, width, channels = self.preparation.image_shape
        return (
            f"TrainedVideoClassifier({self.description.model}, {len(self.class_names)} classes, "
            f"clips {self.preparation.frames}x{height}x{width}x{channels})"
        )

    @property
    def preparation(self) -> VideoPreparation:
        """How videos become its input."""
        found: Any = self.description.preparation
        return found

    def predict(
        self,
        videos: Any,
        *,
        batch_size: int = 16,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Predictions:
        """Compute the probability of each class for videos.

        Args:
            videos: A path of a video (MP4, WebM, AVI and others, read by PyAV), of a folder of
                frames, or of a folder of either, or a sequence of paths; or an array ``(t, h, w,
                c)``, or with an axis of clips before, uint8, uint16, bool, or floats in [0, 1]; or
                a sequence of the former. Videos may have any size, and any number of frames, of
                which ``preparation.frames`` are taken, evenly.
            batch_size: Number of clips that are computed together.
            on_progress: Called after each batch of files, with the number of videos so far and in
                all.

        Returns:
            The probabilities, in the order of the videos. Files that cannot be used are left out
            and listed in ``unread``.

        Raises:
            FileNotFoundError: A path leads nowhere.
            DataError: A folder holds no video, or an array has too few frames.
            ValueError: An array has another shape, type or range.
            TypeError: ``videos`` is neither.
        """
        return super().predict(videos, batch_size=batch_size, on_progress=on_progress)

    def _paths(self, images: Any) -> list[Path] | None:
        return as_paths(images, find=find_clips)

    def _arrays(self, images: Any) -> np.ndarray:
        return as_clips(images, self.preparation)
