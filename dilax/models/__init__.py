"""Small networks, and what was trained of them: ``load``, ``predict`` and ``prune`` it.

Each network's docstring gives its source, number of parameters and multiply-adds.
"""

import dilax.nn  # noqa: F401 - raises a clear error if Flax cannot be imported
from dilax.models._classifier import Classifier
from dilax.models._cnn import CifarCNN, CifarDSDCN, CifarDSDCNWide
from dilax.models._context import CifarContext
from dilax.models._description import Description
from dilax.models._detection import CentersDense, CentersDSDC, Detector
from dilax.models._detector import Objects, TrainedDetector
from dilax.models._drn import CifarDRN
from dilax.models._dsdc import CifarDSDC, MnistDSDC
from dilax.models._eesp import CifarEESP
from dilax.models._files import load, save
from dilax.models._mobilenet import MobileNetV2
from dilax.models._preparation import Preparation
from dilax.models._pruning import prune
from dilax.models._registry import create, list_models
from dilax.models._segmentation import (
    DeepLabDense,
    DeepLabDSDC,
    Segmenter,
    UNetDense,
    UNetDSDC,
)
from dilax.models._segmenter import Segments, TrainedSegmenter
from dilax.models._sequences import SequenceClassifier, Sequences, TcnDense, TcnDSDC
from dilax.models._series_preparation import SeriesPreparation
from dilax.models._sound_preparation import SoundPreparation
from dilax.models._super_resolution import (
    SuperResolver,
    SuperResolverDense,
    SuperResolverDSDC,
)
from dilax.models._super_resolver import Enlarged, TrainedSuperResolver
from dilax.models._tagger import Tagger, TaggerDSDC
from dilax.models._tagging_preparation import TaggingPreparation
from dilax.models._text import TextClassifier, TextDense, TextDSDC
from dilax.models._text_preparation import TextPreparation
from dilax.models._tiniest import Tiniest
from dilax.models._trained import Predictions, TrainedClassifier, TrainedNetwork
from dilax.models._trained_series import TrainedSeriesClassifier
from dilax.models._trained_sound import TrainedSoundClassifier
from dilax.models._trained_tagger import Tags, TrainedTagger
from dilax.models._trained_text import TrainedTextClassifier, WordScore
from dilax.models._trained_video import TrainedVideoClassifier
from dilax.models._tutorials import KerasDilated, KerasSeparable, MnistTextbook, MnistTutorial
from dilax.models._vgg import VGG16Dilated, in_first_blocks
from dilax.models._video import VideoClassifier, VideoDense, VideoDSDC, VideoFrame
from dilax.models._video_preparation import VideoPreparation

__all__ = [
    # by name
    "create",
    "list_models",
    # trained networks
    "load",
    "save",
    "TrainedNetwork",
    "TrainedClassifier",
    "Predictions",
    "TrainedSegmenter",
    "Segments",
    "TrainedDetector",
    "Objects",
    "TrainedTextClassifier",
    "WordScore",
    "TrainedSuperResolver",
    "Enlarged",
    "TrainedTagger",
    "Tags",
    "TrainedSoundClassifier",
    "TrainedSeriesClassifier",
    "TrainedVideoClassifier",
    "Description",
    "Preparation",
    "TextPreparation",
    "TaggingPreparation",
    "SoundPreparation",
    "SeriesPreparation",
    "VideoPreparation",
    "prune",
    # base classes
    "Classifier",
    "Segmenter",
    "Detector",
    "TextClassifier",
    "SuperResolver",
    "Tagger",
    "SequenceClassifier",
    "Sequences",
    "VideoClassifier",
    # MNIST
    "MnistDSDC",
    "MnistTextbook",
    "MnistTutorial",
    # CIFAR
    "CifarCNN",
    "CifarDSDCN",
    "CifarDSDCNWide",
    "CifarContext",
    "CifarDRN",
    "CifarDSDC",
    "CifarEESP",
    "KerasDilated",
    "KerasSeparable",
    "Tiniest",
    "VGG16Dilated",
    # published parameters
    "MobileNetV2",
    # segmentation
    "UNetDSDC",
    "UNetDense",
    "DeepLabDSDC",
    "DeepLabDense",
    # detection
    "CentersDSDC",
    "CentersDense",
    # texts
    "TextDSDC",
    "TextDense",
    # super-resolution
    "SuperResolverDSDC",
    "SuperResolverDense",
    "TaggerDSDC",
    # sequences
    "TcnDSDC",
    "TcnDense",
    # clips
    "VideoDSDC",
    "VideoDense",
    "VideoFrame",
    # fine-tuning
    "in_first_blocks",
]
