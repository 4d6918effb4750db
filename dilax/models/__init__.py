"""The networks, each with its source, parameters and multiply-adds in its docstring."""

from dilax.models.cifar import (
    CifarCNN,
    CifarDSDCN,
    CifarDSDCNWide,
    KerasDilated,
    KerasSeparable,
)
from dilax.models.classifier import Classifier
from dilax.models.context import CifarContext
from dilax.models.drn import CifarDRN
from dilax.models.dsdc import CifarDSDC
from dilax.models.eesp import CifarEESP
from dilax.models.mnist import MnistDSDC, MnistTextbook, MnistTutorial
from dilax.models.registry import create, list_models
from dilax.models.tiniest import Tiniest
from dilax.models.vgg import VGG16Dilated, in_first_blocks

__all__ = [
    # by name
    "create",
    "list_models",
    # what they are
    "Classifier",
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
    # fine-tuning
    "in_first_blocks",
]
