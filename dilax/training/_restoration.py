"""Restoration of images, such as super-resolution: judged by peak signal-to-noise ratio and SSIM.

The structural similarity is dm_pix's. Its ``psnr`` is no substitute for the one here: it is
infinite for equal images, so that one flat patch would spoil the mean over all, and counts every
pixel.
"""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from dilax._arrays import as_array
from dilax._checks import integer
from dilax.training._task import Task

LEAST_ERROR = 1e-10
"""Least mean squared error that is told from none: 100 dB."""
WINDOW = 11
"""Side of the Gaussian window of SSIM, in pixels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restoration(Task):
    r"""Restore images: outputs are floats ``(N, H, W, C)`` in [0, 1], targets uint8 of that shape.

    The loss of an image is its mean absolute error, with :math:`\hat y` the outputs and :math:`y`
    the targets, :math:`\ell = \frac{1}{HWC} \sum_{ijc} |\hat y_{ijc} - y_{ijc} / 255|`, which
    blurs less than the squared error. The metric is the mean over images of ``psnr``, of outputs
    rounded to 8 bits.

    Raises:
        ValueError: ``border`` is negative.
        TypeError: ``border`` is no integer.

    Source: H. Zhao et al., "Loss Functions for Image Restoration with Neural Networks", 2017.

    >>> task = Restoration(border=2)
    >>> targets = jnp.full((1, 8, 8, 3), 51, jnp.uint8)
    >>> task.losses(jnp.zeros((1, 8, 8, 3)), targets).round(3).tolist()
    [0.2...]
    """

    score: str = dataclasses.field(default="psnr", init=False)
    unit: str = dataclasses.field(default="dB", init=False)

    border: int = 0
    """Pixels on each side that the metric leaves out: usually the factor of enlargement."""

    def __post_init__(self) -> None:
        """Check the border."""
        integer(self.border, "border", minimum=0)

    def losses(self, outputs: Array, targets: Array) -> Array:
        """Compute the mean absolute error of each image."""
        return jnp.abs(outputs.astype(jnp.float32) - _floats(targets)).mean(axis=(1, 2, 3))

    def counts(self, outputs: Array, targets: Array) -> dict[str, Array]:
        """Compute the peak signal-to-noise ratio of each image."""
        return {"psnr": psnr(self.decode(outputs), targets, border=self.border)}

    def zero_counts(self) -> dict[str, Array]:
        """Return the sum over no images."""
        return {"psnr": jnp.float32(0)}

    def metrics(self, sums: Mapping[str, np.ndarray], examples: int) -> dict[str, float]:
        """Compute the mean over images."""
        return {"psnr": float(sums["psnr"]) / examples}

    def decode(self, outputs: Array) -> Array:
        """Round to 8 bits, uint8 ``(N, H, W, C)``."""
        return (255 * jnp.clip(outputs.astype(jnp.float32), 0, 1)).round().astype(jnp.uint8)


def luma(images: ArrayLike) -> Array:
    r"""Compute the luma of colours, as ITU-R BT.601 defines it for video.

    .. math:: Y = (16 + 65.481 R + 128.553 G + 24.966 B) / 255

    Args:
        images: ``(N, H, W, 3)``, uint8 or floats in [0, 1]; or ``(N, H, W, 1)``, which stay.

    Returns:
        Floats ``(N, H, W, 1)``, from 16 / 255 to 235 / 255 for colours.

    Raises:
        ValueError: Images have another shape or type.
        TypeError: They are no array of numbers.

    Source: Recommendation ITU-R BT.601-7, 2011.

    >>> luma(jnp.ones((1, 4, 4, 3))).shape
    (1, 4, 4, 1)
    """
    return _luma(_checked(images, "images"))


def psnr(images: ArrayLike, targets: ArrayLike, *, border: int = 0) -> Array:
    r"""Compute the peak signal-to-noise ratio of each image, in decibels.

    .. math:: \text{PSNR} = -10 \log_{10} \frac{1}{HW} \sum_{ij} (Y_{ij} - Y'_{ij})^2

    of the lumas :math:`Y` and :math:`Y'` of image and target, see ``luma``, whose peak is 1. It is
    at most 100 dB, which equal images have.

    Args:
        images: ``(N, H, W, C)`` with 1 or 3 channels, uint8 or floats in [0, 1].
        targets: What they should be, of the same shape.
        border: Pixels on each side that are left out.

    Returns:
        ``(N,)`` floats.

    Raises:
        ValueError: Shapes or types are others, or the border leaves nothing.
        TypeError: ``images`` or ``targets`` are no arrays of numbers, or ``border`` no integer.

    Source: C. Dong et al., "Image Super-Resolution Using Deep Convolutional Networks", 2015, judges
    luma alone; the border is that of R. Timofte et al., "A+", 2014.

    >>> images = jnp.zeros((2, 8, 8, 1))
    >>> psnr(images, images + 0.1).round(3).tolist()
    [20.0, 20.0]
    """
    ours, theirs = _pair(images, targets, border, least=1)
    error = jnp.square(ours - theirs).mean(axis=(1, 2, 3))
    return -10 * jnp.log10(jnp.maximum(error, LEAST_ERROR))


def ssim(images: ArrayLike, targets: ArrayLike, *, border: int = 0) -> Array:
    r"""Compute the structural similarity of each image, which is 1 for equal images.

    .. math:: \text{SSIM} = \operatorname{mean} \frac{(2 \mu \mu' + c_1)(2 \sigma_{YY'} + c_2)}
              {(\mu^2 + \mu'^2 + c_1)(\sigma^2 + \sigma'^2 + c_2)}

    with means :math:`\mu`, variances :math:`\sigma^2` and the covariance :math:`\sigma_{YY'}` of
    the lumas of image and target within a Gaussian window of 11x11 pixels and standard deviation
    1.5, at every place where the window fits; :math:`c_1 = 0.01^2` and :math:`c_2 = 0.03^2`.

    Args:
        images: ``(N, H, W, C)`` with 1 or 3 channels, uint8 or floats in [0, 1].
        targets: What they should be, of the same shape.
        border: Pixels on each side that are left out.

    Returns:
        ``(N,)`` floats.

    Raises:
        ValueError: Shapes or types are others, or the border leaves less than 11 pixels.
        TypeError: ``images`` or ``targets`` are no arrays of numbers, or ``border`` no integer.

    Source: Z. Wang et al., "Image Quality Assessment: From Error Visibility to Structural
    Similarity", 2004.

    >>> images = jnp.linspace(0, 1, 256).reshape(1, 16, 16, 1)
    >>> ssim(images, images).round(3).tolist()
    [1.0]
    """
    import dm_pix

    ours, theirs = _pair(images, targets, border, least=WINDOW)
    return dm_pix.ssim(ours, theirs, filter_size=WINDOW)


def _pair(images: ArrayLike, targets: ArrayLike, border: int, *, least: int) -> tuple[Array, Array]:
    """Return the lumas of two arrays of images, without their borders."""
    ours, theirs = _checked(images, "images"), _checked(targets, "targets")
    if ours.shape != theirs.shape:
        raise ValueError(
            f"images and targets must have equal shapes, got {ours.shape} and {theirs.shape}."
        )
    cut = integer(border, "border", minimum=0)
    if min(ours.shape[1:3]) - 2 * cut < least:
        raise ValueError(
            f"border must leave at least {least} pixels along each axis, got {border} of images "
            f"{ours.shape}."
        )
    inner = slice(cut, -cut or None)
    return _luma(ours)[:, inner, inner], _luma(theirs)[:, inner, inner]


def _checked(images: ArrayLike, name: str) -> Array:
    array = as_array(images, name)
    if array.ndim != 4 or array.shape[-1] not in (1, 3):
        raise ValueError(
            f"{name} must have shape (N, H, W, C) with 1 or 3 channels, got {array.shape}."
        )
    if array.dtype != jnp.uint8 and not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must be uint8, or floats in [0, 1], got {array.dtype}.")
    return array


def _luma(images: Array) -> Array:
    floats = _floats(images)
    if floats.shape[-1] == 1:
        return floats
    red, green, blue = jnp.split(floats, 3, axis=-1)
    return (16 + 65.481 * red + 128.553 * green + 24.966 * blue) / 255


def _floats(images: Array) -> Array:
    floats = jnp.asarray(images).astype(jnp.float32)
    return floats / 255 if images.dtype == jnp.uint8 else floats
