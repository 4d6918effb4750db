"""Degridding blocks: remedies for the gridding of dilated convolutions.

A stack of layers with equal dilation never touches most of its receptive field, and its
neighbouring outputs share no input; ``dilax.analysis.coverage`` measures the share that is touched.
One remedy is to choose better dilations, by ``degridding_dilation`` or
``dilax.analysis.hybrid_dilation``. Others are

- smoothing before a dilated convolution, by a kernel that all features share or by an average:
  ``smoothed_depthwise_conv``, ``shared_conv``;
- mixing the phases that a dilated convolution keeps apart: ``group_interaction``;
- several dilations at once: ``hierarchical_fusion``, ``eesp``, ``aspp``, and
  ``parallel_depthwise_conv``, whose branches ``merge_kernels`` merges exactly into one kernel;
- random dilations in training: ``random_depthwise_conv``;
- taps with learned positions: ``learned_kernel``.

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
