"""Data sets of images, texts, sounds and time series, as NumPy arrays; augmentation on the device.

``load(name)`` finds a set wherever it is; ``python -m dilax.data`` lists the known ones and fetches
them. Importing this package imports neither TFDS nor TensorFlow.
"""

from dilax.data import augment
from dilax.data._box_folders import BoxedDataset, BoxedSplit, load_boxes
from dilax.data._canvases import Canvases, compose_canvases
from dilax.data._clips import ACTIONS, VideoSplit, compose_clips
from dilax.data._dataset import DataError, Dataset, Split, holdout, make_split
from dilax.data._log_mel import log_mel_spectrogram
from dilax.data._mask_folders import MaskedDataset, MaskedSplit, load_masks
from dilax.data._photographs import read_pictures
from dilax.data._pictures import PictureOptions
from dilax.data._procedural import shapes
from dilax.data._series import SeriesDataset, SeriesSplit, load_time_series
from dilax.data._sound_files import Sound, read_sound
from dilax.data._sounds import SoundDataset, SoundSplit, load_sounds
from dilax.data._sources import fetch, load
from dilax.data._state_dicts import read_state_dict
from dilax.data._tagged import TaggedTexts, load_tagged
from dilax.data._texts import TextDataset, TextSplit, load_texts
from dilax.data._video_folders import VideoDataset, load_videos
from dilax.data._words import Vocabulary, tokenize

__all__ = [
    "ACTIONS",
    "BoxedDataset",
    "BoxedSplit",
    "Canvases",
    "DataError",
    "Dataset",
    "MaskedDataset",
    "MaskedSplit",
    "PictureOptions",
    "SeriesDataset",
    "SeriesSplit",
    "Sound",
    "SoundDataset",
    "SoundSplit",
    "Split",
    "TaggedTexts",
    "TextDataset",
    "TextSplit",
    "VideoDataset",
    "VideoSplit",
    "Vocabulary",
    "augment",
    "compose_canvases",
    "compose_clips",
    "fetch",
    "holdout",
    "load",
    "load_boxes",
    "load_masks",
    "load_sounds",
    "load_tagged",
    "load_texts",
    "load_time_series",
    "load_videos",
    "log_mel_spectrogram",
    "make_split",
    "read_pictures",
    "read_sound",
    "read_state_dict",
    "shapes",
    "tokenize",
]
