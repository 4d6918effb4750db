"""Networks by name."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Mapping
from typing import Any

from dilax._checks import LONGEST, check_instance, integer, shown
from dilax.models._cifar import (
    CifarCNN,
    CifarDSDCN,
    CifarDSDCNWide,
    KerasDilated,
    KerasSeparable,
)
from dilax.models._classifier import Classifier
from dilax.models._context import CifarContext
from dilax.models._drn import CifarDRN
from dilax.models._dsdc import CifarDSDC
from dilax.models._eesp import CifarEESP
from dilax.models._mnist import MnistDSDC, MnistTextbook, MnistTutorial
from dilax.models._tiniest import Tiniest
from dilax.models._vgg import VGG16Dilated
from dilax.nn._flax import nnx

MODELS: Mapping[str, Callable[..., Classifier]] = {
    "mnist_dsdc": MnistDSDC,
    "mnist_textbook": MnistTextbook,
    "mnist_tutorial": MnistTutorial,
    "keras_dilated": KerasDilated,
    "keras_separable": KerasSeparable,
    "cnn": CifarCNN,
    "ds_dcn": CifarDSDCN,
    "ds_dcn_wide": CifarDSDCNWide,
    "dsdc": CifarDSDC,
    "tiniest": Tiniest,
    "context": CifarContext,
    "drn": CifarDRN,
    "eesp": CifarEESP,
    "vgg16_dilated": VGG16Dilated,
}


def create(name: str, *, classes: int = 10, rngs: nnx.Rngs, **options: Any) -> Classifier:
    """The network called ``name``, for so many classes, with parameters drawn from ``rngs``.

    Other keywords, as ``kernel_dilation`` of ``mnist_dsdc``, are those of the network.

    Raises:
        ValueError: for an unknown name, with the nearest known ones, or no class.
        TypeError: for a name, a number of classes or keys of another kind.

    >>> from flax import nnx
    >>> type(create("mnist_dsdc", rngs=nnx.Rngs(0))).__name__
    'MnistDSDC'
    """
    check_instance(name, str, "name")
    integer(classes, "classes", minimum=1, maximum=LONGEST)
    check_instance(rngs, nnx.Rngs, "rngs")
    if name not in MODELS:
        nearest = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.3) or list(MODELS)
        raise ValueError(
            f"name must be that of a model, got {shown(name)}; did you mean {' or '.join(nearest)}?"
        )
    return MODELS[name](classes=classes, rngs=rngs, **options)


def list_models(pattern: str = "*") -> list[str]:
    """The names that match a shell pattern.

    Raises:
        TypeError: if the pattern is no text.

    >>> list_models("*textbook*")
    ['mnist_textbook']
    """
    check_instance(pattern, str, "pattern")
    return fnmatch.filter(MODELS, pattern)
