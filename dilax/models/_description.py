"""What a trained network is, in JSON: enough to create it anew and to use it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax import nnx

from dilax._checks import check_instance, entries, shown
from dilax.data import DataError
from dilax.models._preparation import Preparation
from dilax.models._registry import create
from dilax.models._series_preparation import SeriesPreparation
from dilax.models._sound_preparation import SoundPreparation
from dilax.models._tagging_preparation import TaggingPreparation
from dilax.models._text_preparation import TextPreparation
from dilax.models._video_preparation import VideoPreparation

FORMAT = 1
"""Version of the JSON object."""
TASKS: Mapping[str, type] = {
    "classification": Preparation,
    "segmentation": Preparation,
    "detection": Preparation,
    "super_resolution": Preparation,
    "text_classification": TextPreparation,
    "tagging": TaggingPreparation,
    "sound_classification": SoundPreparation,
    "series_classification": SeriesPreparation,
    "video_classification": VideoPreparation,
}
"""For each thing that a network is trained to do, what prepares its inputs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What a trained network is, besides its weights.

    Raises:
        TypeError: Names are no texts, or the preparation is not that of the task.
        ValueError: The task is unknown.

    >>> preparation = Preparation(height=28, width=28, mean=(0.1,), std=(0.3,))
    >>> description = Description(
    ...     model="mnist_dsdc", class_names=("no", "yes"), preparation=preparation
    ... )
    >>> Description.from_json(description.as_json()) == description
    True
    """

    model: str
    """Its name in ``list_models()``."""
    task: str = "classification"
    """What it was trained to do: ``"classification"`` (of images), ``"segmentation"``,
    ``"detection"``, ``"super_resolution"``, ``"video_classification"``, ``"text_classification"``,
    ``"tagging"``, ``"sound_classification"`` or ``"series_classification"``."""
    class_names: tuple[str, ...]
    """The name of each class, in the order of the logits; empty without classes."""
    preparation: (
        Preparation | TextPreparation | TaggingPreparation | SoundPreparation | SeriesPreparation
    )
    """How pictures, clips, texts, sounds or time series become its input."""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Arguments of ``create`` besides ``classes``, such as ``kernel_dilation``."""
    mirrored: bool = False
    """Whether its logits are averaged with those of the mirror image."""
    kernel_bits: int = 0
    """Bits of the integers that its kernels were rounded to while it trained; 0 for floats."""

    def __post_init__(self) -> None:
        names = entries(self.class_names, "class_names", "names")
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"class_names must be names, got {shown(names)}.")
        object.__setattr__(self, "class_names", names)
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, got {shown(self.task)}.")
        check_instance(self.preparation, TASKS[self.task], "preparation")

    def create(self) -> nnx.Module:
        """Create the network, with parameters that are not trained."""
        classes = len(self.class_names) or None
        return create(self.model, classes=classes, rngs=nnx.Rngs(0), **dict(self.options))

    def as_json(self) -> dict[str, Any]:
        """Convert it to a JSON object."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Description:
        """Create it from a JSON object.

        Raises:
            DataError: The object is another one.
        """
        try:
            fields = dict(content)
            if (version := fields.pop("format")) != FORMAT:
                raise ValueError(f"its format is {version}, not {FORMAT}")
            kind = TASKS[fields["task"]] if "task" in fields else Preparation
            preparation = kind(**_with_tuples(fields.pop("preparation")))
            options = _with_tuples(fields.pop("options"))
            return cls(preparation=preparation, options=options, **_with_tuples(fields))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DataError(
                f"the description of the network cannot be read ({reason}), got {shown(content)}; "
                "was it written by another version of dilax?"
            ) from error


def _with_tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the lists of JSON to tuples."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
