"""Code that the training programs share.

- ``config``: the common flags
- ``flags``: unknown flags, and flags in messages
- ``program``: the main function, from the command line to an exit status
- ``images``: the data set that the flags name
- ``task``: images, network, recipe and devices, checked before a run begins
- ``start``: the weights of a trained run, from which another run starts
- ``run``: the runs of a task, one for each seed
- ``terminal``: what a program shows before and after it trains
- ``memory``: an allocation setting that speeds up training on a CPU
- ``markdown``: formatting of tables
"""

import sys

from common.terminal import stage

with stage("importing JAX and Flax", show=sys.stdout.isatty(), keep=False):
    from common.config import Config
    from common.program import main
    from common.task import Normalise, Tuning

__all__ = ["Config", "Normalise", "Tuning", "main"]
