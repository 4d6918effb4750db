"""Blocks against gridding: what to do before, after or in place of a dilated convolution.

A stack of layers of one dilation never touches most of its receptive field, and its neighbouring
outputs share no input; ``dilax.analysis.coverage`` shows both. Besides better dilations, as
``degridding_dilation`` and ``dilax.analysis.hybrid_dilation`` choose them, the literature proposes

- to smooth before: ``smoothed_depthwise_conv``, by a kernel that all features share
  (``shared_conv``) or an average;
- to mix after: ``group_interaction``, of the phases that a dilated convolution keeps apart;
- several dilations at once: ``hierarchical_fusion``, ``eesp``, ``aspp``, and
  ``parallel_depthwise_conv``, whose branches ``merge_kernels`` makes exactly one kernel of;
- dilations drawn in training: ``random_depthwise_conv``;
- taps that learn where they stand: ``learned_kernel``.

All are pure functions of arrays; ``dilax.nn`` has modules that hold their parameters.
"""

from dilax.degridding._branches import hierarchical_fusion, parallel_depthwise_conv
from dilax.degridding._dilations import degridding_dilation, learned_kernel, random_depthwise_conv
from dilax.degridding._merging import fold_batch_norm, merge_kernels
from dilax.degridding._mixing import group_interaction, shared_conv, smoothed_depthwise_conv
from dilax.degridding._pyramids import ASPPParams, EESPParams, aspp, eesp

__all__ = [
    # before
    "shared_conv",
    "smoothed_depthwise_conv",
    # after
    "group_interaction",
    # several dilations at once
    "ASPPParams",
    "EESPParams",
    "aspp",
    "eesp",
    "hierarchical_fusion",
    "parallel_depthwise_conv",
    # several kernels made one
    "fold_batch_norm",
    "merge_kernels",
    # other dilations
    "degridding_dilation",
    "learned_kernel",
    "random_depthwise_conv",
]
