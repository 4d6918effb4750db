"""Networks by name."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from flax import nnx

from dilax._checks import LONGEST, check_instance, integer, shown
from dilax.models._cnn import CifarCNN, CifarDSDCN, CifarDSDCNWide
from dilax.models._context import CifarContext
from dilax.models._drn import CifarDRN
from dilax.models._dsdc import CifarDSDC, MnistDSDC
from dilax.models._eesp import CifarEESP
from dilax.models._segmentation import DeepLabDense, DeepLabDSDC, UNetDense, UNetDSDC
from dilax.models._tagger import TaggerDSDC
from dilax.models._text import TextDense, TextDSDC
from dilax.models._tiniest import Tiniest
from dilax.models._tutorials import KerasDilated, KerasSeparable, MnistTextbook, MnistTutorial
from dilax.models._vgg import VGG16Dilated

MODELS: Mapping[str, Callable[..., nnx.Module]] = {
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
    "unet_dsdc": UNetDSDC,
    "unet_dense": UNetDense,
    "deeplab_dsdc": DeepLabDSDC,
    "deeplab_dense": DeepLabDense,
    "text_dsdc": TextDSDC,
    "text_dense": TextDense,
    "tagger_dsdc": TaggerDSDC,
}


def create(name: str, *, classes: int | None = None, rngs: nnx.Rngs, **options: Any) -> nnx.Module:
    """Create a network by name, with parameters drawn from ``rngs``.

    Args:
        name: One of ``list_models()``.
        classes: Number of classes; by default the network's own, 10 for most.
        rngs: Source of keys; parameters are drawn from the stream ``params``.
        **options: Other arguments of the network's constructor, such as ``kernel_dilation``.

    Returns:
        The network. A classifier maps images ``(N, H, W, C)`` to logits ``(N, classes)``, a
        segmenter to logits ``(N, H, W, classes)``; a classifier of texts maps numbers of words
        ``(N, T)`` to logits ``(N, classes)``.

    Raises:
        ValueError: For an unknown name (the message suggests known ones), or fewer than one class.
        TypeError: For an option that the network does not take, or an argument of another type.

    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> network = create("mnist_dsdc", kernel_dilation=(1, 2, 1, 1, 2, 1, 1), rngs=nnx.Rngs(0))
    >>> network(jnp.ones((8, 28, 28, 1))).shape
    (8, 10)
    """
    check_instance(name, str, "name")
    if classes is not None:
        options["classes"] = integer(classes, "classes", minimum=1, maximum=LONGEST)
    check_instance(rngs, nnx.Rngs, "rngs")
    if name not in MODELS:
        nearest = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.3) or list(MODELS)
        raise ValueError(
            f"name must be the name of a network, got {shown(name)}; did you mean "
            f"{' or '.join(nearest)}?"
        )
    known = set(inspect.signature(MODELS[name].__init__).parameters) - {"self", "rngs"}
    if unknown := sorted(options.keys() - known):
        raise TypeError(
            f"options of {name} must be among {sorted(known)}, got {', '.join(unknown)}."
        )
    return MODELS[name](rngs=rngs, **options)


def list_models(pattern: str = "*") -> list[str]:
    """List the names of networks that match a shell pattern.

    Raises:
        TypeError: The pattern is no text.

    >>> list_models("*textbook*")
    ['mnist_textbook']
    """
    check_instance(pattern, str, "pattern")
    return fnmatch.filter(MODELS, pattern)
