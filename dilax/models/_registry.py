"""Networks by name."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, overload

from flax import nnx

from dilax._checks import LONGEST, check_instance, integer, shown
from dilax.models._classifier import Classifier
from dilax.models._cnn import CifarCNN, CifarDSDCN, CifarDSDCNWide
from dilax.models._context import CifarContext
from dilax.models._detection import CentersDense, CentersDSDC, Detector
from dilax.models._drn import CifarDRN
from dilax.models._dsdc import CifarDSDC, MnistDSDC
from dilax.models._eesp import CifarEESP
from dilax.models._mobilenet import MobileNetV2
from dilax.models._segmentation import DeepLabDense, DeepLabDSDC, Segmenter, UNetDense, UNetDSDC
from dilax.models._sequences import SequenceClassifier, TcnDense, TcnDSDC
from dilax.models._super_resolution import SuperResolver, SuperResolverDense, SuperResolverDSDC
from dilax.models._tagger import Tagger, TaggerDSDC
from dilax.models._text import TextClassifier, TextDense, TextDSDC
from dilax.models._tiniest import Tiniest
from dilax.models._tutorials import KerasDilated, KerasSeparable, MnistTextbook, MnistTutorial
from dilax.models._vgg import VGG16Dilated
from dilax.models._video import VideoClassifier, VideoDense, VideoDSDC, VideoFrame

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
    "mobilenet_v2": MobileNetV2,
    "unet_dsdc": UNetDSDC,
    "unet_dense": UNetDense,
    "deeplab_dsdc": DeepLabDSDC,
    "deeplab_dense": DeepLabDense,
    "centers_dsdc": CentersDSDC,
    "centers_dense": CentersDense,
    "text_dsdc": TextDSDC,
    "text_dense": TextDense,
    "sr_dsdc": SuperResolverDSDC,
    "sr_dense": SuperResolverDense,
    "tagger_dsdc": TaggerDSDC,
    "tcn_dsdc": TcnDSDC,
    "tcn_dense": TcnDense,
    "video_dsdc": VideoDSDC,
    "video_dense": VideoDense,
    "video_frame": VideoFrame,
}

SegmenterName = Literal["unet_dsdc", "unet_dense", "deeplab_dsdc", "deeplab_dense"]
DetectorName = Literal["centers_dsdc", "centers_dense"]
TextName = Literal["text_dsdc", "text_dense"]
TaggerName = Literal["tagger_dsdc"]
ResolverName = Literal["sr_dsdc", "sr_dense"]
SequenceName = Literal["tcn_dsdc", "tcn_dense"]
VideoName = Literal["video_dsdc", "video_dense", "video_frame"]
ClassifierName = Literal[
    "mnist_dsdc",
    "mnist_textbook",
    "mnist_tutorial",
    "keras_dilated",
    "keras_separable",
    "cnn",
    "ds_dcn",
    "ds_dcn_wide",
    "dsdc",
    "tiniest",
    "context",
    "drn",
    "eesp",
    "vgg16_dilated",
    "mobilenet_v2",
]
KINDS: Mapping[Any, type[nnx.Module]] = {
    ClassifierName: Classifier,
    SegmenterName: Segmenter,
    DetectorName: Detector,
    TextName: TextClassifier,
    TaggerName: Tagger,
    ResolverName: SuperResolver,
    SequenceName: SequenceClassifier,
    VideoName: VideoClassifier,
}
"""For the names of each kind of network, its base class, as type checkers are told."""


@overload
def create(
    name: ClassifierName, *, classes: int | None = None, rngs: nnx.Rngs, **options: Any
) -> Classifier: ...
@overload
def create(
    name: SegmenterName, *, classes: int | None = None, rngs: nnx.Rngs, **options: Any
) -> Segmenter: ...
@overload
def create(
    name: DetectorName, *, classes: int | None = None, rngs: nnx.Rngs, **options: Any
) -> Detector: ...
@overload
def create(
    name: TextName, *, classes: int | None = None, rngs: nnx.Rngs, **options: Any
) -> TextClassifier: ...
@overload
def create(
    name: TaggerName, *, classes: int | None = None, rngs: nnx.Rngs, **options: Any
) -> Tagger: ...
@overload
def create(
    name: ResolverName, *, classes: int | None = None, rngs: nnx.Rngs, **options: Any
) -> SuperResolver: ...
@overload
def create(
    name: SequenceName, *, classes: int | None = None, rngs: nnx.Rngs, **options: Any
) -> SequenceClassifier: ...
@overload
def create(
    name: VideoName, *, classes: int | None = None, rngs: nnx.Rngs, **options: Any
) -> VideoClassifier: ...
@overload
def create(
    name: str, *, classes: int | None = None, rngs: nnx.Rngs, **options: Any
) -> nnx.Module: ...
def create(name: str, *, classes: int | None = None, rngs: nnx.Rngs, **options: Any) -> nnx.Module:
    """Create a network by name, with parameters drawn from ``rngs``.

    Args:
        name: One of ``list_models()``.
        classes: Number of classes; by default the network's own, 10 for most.
        rngs: Source of keys; parameters are drawn from the stream ``params``.
        **options: Other arguments of the network's constructor, such as ``kernel_dilation``.

    Returns:
        The network. A classifier maps images ``(N, H, W, C)`` to logits ``(N, classes)``, a
        segmenter to logits ``(N, H, W, classes)``, a detector to heat, sizes and offsets, a
        super-resolver to larger images. A classifier of texts maps numbers of words ``(N, T)`` to
        logits ``(N, classes)``, one of sequences vectors ``(N, T, features)``, and one of clips
        frames ``(N, T, H, W, C)``.

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
