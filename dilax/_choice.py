"""The choice of the algorithm that computes a pass, and of its settings.

For each pass, one function returns the algorithm for a platform and a problem. For algorithms with
settings, another function returns the settings. All constants that steer an algorithm are in this
file. The choice of algorithms is based on ``experiments/results/algorithms.json``, a measurement of
the algorithms in every pass of 79 convolutions; comments in brackets name its families. The
settings are based on ``experiments/results/settings_speed.json``.

Platforms that were not measured run ``lax``, but for passes of dilated convolutions on NVIDIA's
GPUs, of which the compiled program shows that XLA makes something else of them: a window as large
as the image, or a kernel with zeros between its taps. ``tests/aot`` compiles them, without a GPU.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from dilax.algorithms import (
    Algorithm,
    im2col,
    lax,
    pad_first,
    per_group,
    per_plane,
    shift_and_add,
    space_to_batch,
)
from dilax.algorithms._shift_and_add_gradient import Blocks
from dilax.geometry import ConvGeometry

PassName = Literal["conv", "input_gradient", "kernel_gradient"]


@dataclasses.dataclass(frozen=True)
class Problem:
    """All that a choice depends on: the geometry of a convolution, its channels, batch and type."""

    geometry: ConvGeometry
    in_features: int
    out_features: int
    batch: Any
    """Number of examples; symbolic in a program that is exported for any batch size."""
    itemsize: int = 4

    @property
    def in_channels_per_group(self) -> int:
        """Number of input channels that each output channel sees."""
        return self.in_features // self.geometry.feature_group_count

    @property
    def out_channels_per_group(self) -> int:
        """Number of output channels that see each input channel."""
        return self.out_features // self.geometry.feature_group_count

    @property
    def grouped(self) -> bool:
        """Whether there are several groups."""
        return self.geometry.feature_group_count > 1

    @property
    def strided(self) -> bool:
        """Whether a stride is larger than one."""
        return max(self.geometry.strides) > 1

    @property
    def dilated(self) -> bool:
        """Whether there are holes between the taps of the kernel."""
        axes = zip(self.geometry.kernel_size, self.geometry.kernel_dilation, strict=True)
        return any(size > 1 and dilation > 1 for size, dilation in axes)

    @property
    def asymmetric(self) -> bool:
        """Whether an axis has more padding at one end than at the other."""
        return any(low != high for low, high in self.geometry.padding)

    @property
    def volume(self) -> bool:
        """Whether there are three window axes."""
        return self.geometry.rank == 3


MEASURED_PLATFORMS = ("cpu",)
"""Platforms with measurements."""
COMPILED_PLATFORMS = ("cuda", "gpu")
"""Platforms of which the compiled programs are known; JAX has both names for one."""
PLATFORMS = MEASURED_PLATFORMS + COMPILED_PLATFORMS
"""All platforms on which something else than ``lax`` may be chosen."""


class Choice(NamedTuple):
    """An algorithm and the settings of one of its passes."""

    algorithm: Algorithm
    settings: Mapping[str, Any]


def choose(
    platform: str, pass_name: PassName, problem: Problem, algorithm: Algorithm | None = None
) -> Choice:
    """Choose the algorithm of a pass and its settings; ``algorithm``, if given, is taken."""
    chosen = algorithm or _ALGORITHM[pass_name](platform, problem)
    settings = _SETTINGS.get((chosen.name, pass_name), _no_settings)
    return Choice(chosen, settings(problem))


# --- algorithms: one function a pass --------------------------------------------------------------


def conv_algorithm(platform: str, problem: Problem) -> Algorithm:
    """Choose the algorithm of the forward pass."""
    if platform not in MEASURED_PLATFORMS:
        inflated = problem.dilated and problem.asymmetric
        return pad_first if inflated and platform in COMPILED_PLATFORMS else lax
    if _nearly_depthwise(problem, 4):
        return shift_and_add  # [mobilenet, aspp, convnext, cifar, tcn, wavenet, mamba, video, ...]
    if _one_product(problem):
        return im2col  # [pointwise, strided]
    if problem.volume and _wide_stem(problem):
        return im2col  # [volume]
    if _stem(problem):
        return shift_and_add  # [stem]
    if problem.volume:
        return _by_plane(problem)  # [volume]
    if problem.grouped:
        return per_group  # [grouped]
    return lax  # [dense]


def input_gradient_algorithm(platform: str, problem: Problem) -> Algorithm:
    """Choose the algorithm of the input gradient."""
    if platform not in MEASURED_PLATFORMS:
        if platform not in COMPILED_PLATFORMS or not problem.dilated:
            return lax
        return space_to_batch if problem.strided else pad_first if problem.asymmetric else lax
    if _nearly_depthwise(problem, 4):
        return shift_and_add  # [mobilenet, aspp, convnext, cifar, tcn, wavenet, mamba, video, ...]
    if _one_product(problem) or _stem(problem):
        return im2col  # [pointwise, stem]
    if _few_phases(problem.geometry) and _short_rows(problem):
        return im2col  # [strided]
    if problem.strided and not problem.volume:
        return lax  # [strided]
    return _by_plane(problem)  # [dense, grouped, volume]


def kernel_gradient_algorithm(platform: str, problem: Problem) -> Algorithm:
    """Choose the algorithm of the kernel gradient."""
    if platform not in MEASURED_PLATFORMS:
        return space_to_batch if problem.dilated and platform in COMPILED_PLATFORMS else lax
    if _nearly_depthwise(problem, 2):
        return shift_and_add  # [mobilenet, aspp, convnext, cifar, tcn, wavenet, mamba, video, ...]
    if _one_product(problem) or _wide_stem(problem):
        return im2col  # [pointwise, stem]
    if _small_and_deep(problem) and (problem.volume or _many_windows(problem)):
        return im2col  # [dense, strided, volume]
    return _by_plane(problem)  # [dense, grouped, volume, stem]


def _nearly_depthwise(problem: Problem, most_channels: int) -> bool:
    """Whether there are groups (or one output channel) with at most ``most_channels`` inputs."""
    apart = problem.grouped or problem.out_features == 1
    return apart and problem.in_channels_per_group <= most_channels


def _one_product(problem: Problem) -> bool:
    """Whether it is one matrix product: a dense kernel of size one, or windows without overlap."""
    geometry = problem.geometry
    return (geometry.taps == 1 or geometry.non_overlapping) and not problem.grouped


def _stem(problem: Problem) -> bool:
    """Whether it looks like a first layer: dense, few input channels, a small or cheap kernel."""
    taps = problem.geometry.taps
    entries = taps * problem.in_features * problem.out_features
    small = taps <= (27 if problem.volume else 9) or entries <= 512
    return not problem.grouped and problem.in_features <= 4 and small


def _wide_stem(problem: Problem) -> bool:
    """Whether it looks like a first layer without strides, with a small kernel and many outputs.

    Up to 16 outputs lax is about as fast, as ``experiments/results/algorithms_stem.json`` shows.
    """
    small = problem.geometry.taps <= 9 or problem.volume
    return _stem(problem) and small and not problem.strided and problem.out_features > 16


def _small_and_deep(problem: Problem) -> bool:
    """Whether it is dense, with more than 4 input channels and a small kernel of 2 or 3 axes.

    To one output, or in half precision, lax is as fast, up to noise, and compiles sooner, as
    ``experiments/results/algorithms_half_and_one.json`` shows.
    """
    rank = problem.geometry.rank
    small = rank > 1 and problem.geometry.taps <= 3**rank
    deep = problem.in_channels_per_group > 4 and problem.out_features > 1
    return small and deep and not problem.grouped and problem.itemsize >= 4


def _many_windows(problem: Problem) -> bool:
    """Whether there are so many windows that lax's own kernel gradient of images slows down.

    Both are measured in ``experiments/results/algorithms_dense.json``. Below the limit, it depends
    on the processor which is faster.
    """
    if not isinstance(problem.batch, int):
        return True
    windows = problem.batch * math.prod(problem.geometry.output_size)
    return windows >= 1 << 13 and windows * problem.in_features >= 3 << 17


def _short_rows(problem: Problem) -> bool:
    """Whether a matrix with a row for each window takes little memory.

    Kernel gradients of transposed convolutions have windows as large as the image.
    """
    return problem.geometry.taps <= (128 if problem.in_channels_per_group <= 4 else 32)


def _by_plane(problem: Problem) -> Algorithm:
    """Choose ``per_plane`` for volumes, but not for kernels of over 16 planes: slow to compile."""
    shallow = problem.geometry.kernel_size[0] <= 16
    return per_plane if problem.volume and shallow else per_group


_ALGORITHM: dict[PassName, Callable[[str, Problem], Algorithm]] = {
    "conv": conv_algorithm,
    "input_gradient": input_gradient_algorithm,
    "kernel_gradient": kernel_gradient_algorithm,
}


# --- settings: what speed depends on, within an algorithm -----------------------------------------


def _no_settings(problem: Problem) -> dict[str, Any]:
    del problem
    return {}


def _unrolled_groups(problem: Problem) -> dict[str, Any]:
    """Unroll up to 32 groups; more would take long to compile."""
    del problem
    return {"unrolled_groups": 32}


UNROLLED_TAPS = 64
"""Largest number of taps to write out for XLA to fuse; more would take long to compile."""


def _conv_by_shift_and_add(problem: Problem) -> dict[str, Any]:
    few = 9 if problem.out_channels_per_group == 1 else 4
    padded = _better_padded(problem.geometry, problem.in_channels_per_group, few)
    return {"padded": padded, "unrolled_taps": UNROLLED_TAPS}


def _input_gradient_by_shift_and_add(problem: Problem) -> dict[str, Any]:
    return {
        "padded": _better_padded(problem.geometry, problem.out_channels_per_group, 9),
        "unrolled_taps": UNROLLED_TAPS,
        "unrolled_outputs": 32,
        "by_phase": _few_phases(problem.geometry),
    }


def _conv_by_window_sums(problem: Problem) -> dict[str, Any]:
    """Pad sooner than ``shift_and_add`` does, because multiplying by one costs nothing."""
    padded = _better_padded(problem.geometry, 1, 4)
    return {"padded": padded, "unrolled_taps": UNROLLED_TAPS}


def _input_gradient_by_window_sums(problem: Problem) -> dict[str, Any]:
    padded = _better_padded(problem.geometry, 1, 4)
    return _input_gradient_by_shift_and_add(problem) | {"padded": padded}


def _better_padded(geometry: ConvGeometry, channels: int, few_terms: int) -> bool:
    """Whether a padded copy is read faster than the array itself.

    A sum of at most ``few_terms`` terms is faster without a padded copy: XLA computes products only
    inside the array, and reads no zeros. With few channels, entries that are neighbours in memory
    lie partly inside and partly outside, so the limit is 4 terms.
    """
    many_channels = geometry.feature_group_count >= 24 or max(geometry.strides) > 1
    few = few_terms if many_channels else 4
    return geometry.taps * channels > few or max(geometry.kernel_size) >= 9


def _few_phases(geometry: ConvGeometry) -> bool:
    """Whether strides make 2 to 16 phases; the code of more would be long."""
    return 1 < math.prod(geometry.strides) <= 16


def _input_gradient_by_im2col(problem: Problem) -> dict[str, Any]:
    return {"by_phase": _few_phases(problem.geometry)}


def _kernel_gradient_by_im2col(problem: Problem) -> dict[str, Any]:
    """Make patches of 8 MB at a time, which stay in the cache until they are multiplied."""
    by_row = _long_rows(problem)
    block = _patch_block(problem, 1 << 23, by_row=by_row) if problem.batch else None
    return {"block": block, "by_row": by_row}


def _long_rows(problem: Problem) -> bool:
    """Whether a row of taps alone fills a matrix product: many channels, several rows."""
    geometry = problem.geometry
    columns = geometry.kernel_size[-1] * problem.in_channels_per_group
    return geometry.taps > geometry.kernel_size[-1] and columns >= 64


def _patch_block(problem: Problem, patch_bytes: int, *, by_row: bool) -> tuple[int, int]:
    """Return how many examples, and outputs along their first axis, fill ``patch_bytes``."""
    geometry, batch = problem.geometry, problem.batch
    length, *others = geometry.output_size
    taps = geometry.kernel_size[-1] if by_row else geometry.taps
    row_bytes = math.prod(others) * taps * problem.in_features * problem.itemsize
    fit = max(patch_bytes // max(row_bytes, 1), 1)
    if fit <= length or not isinstance(batch, int):
        return 1, _even_part(length, fit)
    return _even_part(batch, fit // length), length


TAPS_AT_ONCE = 16
"""Largest number of taps that one kernel of the gradient multiplies; their sums fit a cache."""


def _kernel_gradient_by_shift_and_add(problem: Problem) -> dict[str, Any]:
    return {"blocks": _blocks(problem)}


def _blocks(
    problem: Problem, *, sums_bytes: int = 3 << 19, few_products: int = 1 << 13
) -> Blocks | None:
    """Return blocks whose running sums, of up to ``sums_bytes``, stay in the cache of a core.

    Return None if there are at most ``few_products`` products, because a loop would take longer.
    The loop has at least 8 rounds where possible: XLA breaks up shorter ones into code that it
    does not fuse.
    """
    geometry, batch, channels = problem.geometry, problem.batch, problem.out_features
    length, *others = geometry.output_size
    outputs = batch * length * math.prod(others) * channels if isinstance(batch, int) else math.inf
    if not outputs or (outputs <= few_products and geometry.taps <= TAPS_AT_ONCE):
        return None
    last = geometry.kernel_size[-1]
    fills_no_vector = channels < 16
    whole_rows = fills_no_vector and geometry.strides[-1] == 1 and last <= TAPS_AT_ONCE
    kernels = last if whole_rows else 1
    taps = _largest_divisor(geometry.taps // kernels, TAPS_AT_ONCE // kernels)
    most_rows = sums_bytes // (4 * kernels * taps * math.prod(others) * channels)
    examples = _largest_divisor(batch, 7)
    rounds = batch // examples if isinstance(batch, int) else 8
    growth = math.prod(geometry.padded_size) / math.prod(geometry.input_size)
    if growth >= 1.5 and most_rows >= length and rounds >= 8:
        return Blocks(examples, length, taps, whole_rows, padded_in_loop=True)
    parts = max(8 // rounds, 1)
    rows = _largest_divisor(length, min(most_rows, length // parts))
    return Blocks(examples, rows, taps, whole_rows, padded_in_loop=False)


def _even_part(number: int, most: int) -> int:
    """Return a size of parts, at most ``most``: a divisor of ``number`` if one is near."""
    least = -(-number // -(-number // most))
    return next((size for size in range(least, least // 2, -1) if number % size == 0), least)


def _largest_divisor(number: Any, limit: int) -> int:
    """Return the largest divisor of ``number`` up to ``limit``; 1 for a symbolic number."""
    if not isinstance(number, int):
        return 1
    return max(d for d in range(1, max(limit, 1) + 1) if number % d == 0)


_SETTINGS: dict[tuple[str, PassName], Callable[[Problem], dict[str, Any]]] = {
    ("shift_and_add", "conv"): _conv_by_shift_and_add,
    ("shift_and_add", "input_gradient"): _input_gradient_by_shift_and_add,
    ("shift_and_add", "kernel_gradient"): _kernel_gradient_by_shift_and_add,
    ("window_sums", "conv"): _conv_by_window_sums,
    ("window_sums", "input_gradient"): _input_gradient_by_window_sums,
    ("window_sums", "kernel_gradient"): _kernel_gradient_by_shift_and_add,
    ("im2col", "input_gradient"): _input_gradient_by_im2col,
    ("im2col", "kernel_gradient"): _kernel_gradient_by_im2col,
    ("per_group", "conv"): _unrolled_groups,
    ("per_group", "input_gradient"): _unrolled_groups,
    ("per_group", "kernel_gradient"): _unrolled_groups,
    ("per_plane", "conv"): _unrolled_groups,
    ("per_plane", "input_gradient"): _unrolled_groups,
    ("per_plane", "kernel_gradient"): _unrolled_groups,
}
