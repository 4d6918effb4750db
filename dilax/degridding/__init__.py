"""Cures for gridding: what is done before, beside, after or in place of a dilated convolution.

A stack of equal rates never touches most of its receptive field, and neighbouring outputs share no
input (`dilax.analysis.coverage` shows both). Besides better rates, as `degridding_dilation` and
`dilax.analysis.hybrid_dilation` give them, the literature proposes

- to blur before: `smoothed_depthwise_conv`, by a kernel that all features share, or an average;
- to mix after: `group_interaction`, of the phases that a dilated convolution keeps apart;
- several rates at once: `hierarchical_fusion`, `eesp`, `aspp`, and `parallel_depthwise_conv`, whose
  branches `merge_kernels` makes one kernel of, exactly;
- rates drawn in training: `random_depthwise_conv`; rates learned: `learned_kernel`.

Pure functions of arrays as in `dilax.ops`; `dilax.nn` has a module for each.
"""

from dilax.degridding._branches import hierarchical_fusion, parallel_depthwise_conv
from dilax.degridding._interaction import group_interaction
from dilax.degridding._learned import learned_kernel
from dilax.degridding._merging import fold_batch_norm, merge_kernels
from dilax.degridding._pyramids import ASPPParams, EESPParams, aspp, eesp
from dilax.degridding._schedules import degridding_dilation, random_depthwise_conv
from dilax.degridding._smoothing import shared_conv, smoothed_depthwise_conv

__all__ = [
    # before
    "shared_conv",
    "smoothed_depthwise_conv",
    # after
    "group_interaction",
    # several rates at once
    "ASPPParams",
    "EESPParams",
    "aspp",
    "eesp",
    "hierarchical_fusion",
    "parallel_depthwise_conv",
    # several kernels made one
    "fold_batch_norm",
    "merge_kernels",
    # other rates
    "degridding_dilation",
    "learned_kernel",
    "random_depthwise_conv",
]
