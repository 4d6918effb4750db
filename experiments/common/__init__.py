"""Code that the training programs share.

- ``config``: the common flags
- ``flags``: unknown flags, and flags in messages
- ``program``: the main function, from the command line to an exit status
- ``job``: what differs from one kind of program to another
- ``classification``: the kind of program that classifies images
- ``heads``: the head of a network, trained alone on features
- ``canvases``: examples of images with masks or boxes
- ``segments``: images and masks of the program that finds the class of each pixel
- ``boxes``: images and boxes of the program that finds objects
- ``photographs``: small and large images of the program that enlarges photographs
- ``videos``: clips of the program that finds the class of a video
- ``texts``, ``tags``: texts and labelled words of the programs that find their classes
- ``sounds``: sounds of the program that finds words in them, also as they come
- ``series``: time series of the program that finds their classes
- ``sentences``, ``addresses``, ``brown``, ``spoken_words``, ``series_sets``, ``fetched``: the sets
  that these programs fetch
- ``experiment``: examples, network, recipe and devices, checked before a run begins
- ``start``: the weights of a trained run, from which another run starts
- ``run``: the runs of an experiment, one for each seed
- ``terminal``: what a program shows before and after it trains
- ``memory``: an allocation setting that speeds up training on a CPU
- ``markdown``: formatting of tables
"""

import sys

from common.terminal import stage

with stage("importing JAX and Flax", show=sys.stdout.isatty(), keep=False):
    from common.classification import AugmentImages, ClassifierConfig, Classify, Normalise
    from common.config import Config
    from common.job import Examples, Job, Tuning, picture_path, split_off
    from common.program import main

__all__ = [
    # every program
    "main",
    "Config",
    "Job",
    "Examples",
    "Tuning",
    "split_off",
    "picture_path",
    # classifiers of images
    "ClassifierConfig",
    "Classify",
    "AugmentImages",
    "Normalise",
]
