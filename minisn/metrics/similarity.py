"""Multi-scale structural similarity, and its mean within a class, which reveals mode collapse."""

import numpy as np
from scipy.ndimage import correlate1d

from ..errors import ConfigError, DTypeError, ShapeError
from .results import Sample, Score, score

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, the finest first."""

_WINDOW, _DEVIATION, _RANGE = 11, 1.5, 255.0  # pixels, pixels, largest difference of two pixels
_C_1, _C_2 = (0.01 * _RANGE) ** 2, (0.03 * _RANGE) ** 2


def scales_for(height: int, width: int) -> int:
    """Return the number of scales at which the window fits into an image.

    Each scale halves the image. Images of 28 to 43 pixels have two scales, images from 44 pixels
    have three, and images from 176 pixels have all five.

    Args:
        height, width: size of the image, pixels.
    Raises:
        ShapeError: the image is smaller than the window, 11 pixels.
    """
    count = sum(min(height, width) >> k >= _WINDOW for k in range(len(WEIGHTS)))
    if not count:
        raise ShapeError(
            f"ms_ssim: images of {height} x {width} pixels are smaller than the window, "
            f"{_WINDOW} x {_WINDOW}; use larger images"
        )
    return count


def ms_ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    r"""Compute the multi-scale structural similarity of pairs of images.

    .. math:: l_M^{\alpha_M} \prod_{j=1}^M (cs_j)^{\alpha_j}, \qquad
              l = \frac{2\mu_x\mu_y + c_1}{\mu_x^2 + \mu_y^2 + c_1}, \quad
              cs = \frac{2\sigma_{xy} + c_2}{\sigma_x^2 + \sigma_y^2 + c_2}

    The moments are taken under a Gaussian window of 11 pixels and standard deviation 1.5 that stays
    within the image. Each scale averages squares of 2 x 2 pixels of the scale before. At each scale
    the mean of :math:`cs` over the image counts (at the last scale, of :math:`l\,cs`), or 0 if it
    is negative. The result is the mean over the channels.

    Args:
        x, y: pixels 0 to 255, [N, C, H, W].
    Returns:
        Similarities, 0 to 1 (for equal images), [N].
    Raises:
        ShapeError: different shapes, or images below 11 pixels.
        DTypeError: a pixel is not from 0 to 255.

    Source: [M18 §4.2]; Wang, Simoncelli and Bovik (2003)
    Deviation: only those of the five scales that fit are used (:func:`scales_for`), with exponents
    divided by their sum. The authors of the measure compare gray images; here the channels of color
    images are compared one by one.
    """
    if x.ndim != 4 or x.shape != y.shape:
        raise ShapeError(
            f"ms_ssim: expected two arrays [N, C, H, W] of one shape, got {list(x.shape)} and "
            f"{list(y.shape)}"
        )
    if not all(0 <= a.min() <= a.max() <= _RANGE for a in (x, y)):
        raise DTypeError(
            "ms_ssim: a pixel is not a number from 0 to 255; apply "
            "minisn.data.unscale_images to images in (-1, 1)"
        )
    scales = scales_for(*x.shape[2:])
    alpha = np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    x, y, result = x.astype(np.float64), y.astype(np.float64), np.ones(x.shape[:2])
    for j in range(scales):
        luminance, structure = _compare(x, y)
        if j == scales - 1:
            structure = luminance * structure
        result *= np.maximum(structure.mean((2, 3)), 0.0) ** alpha[j]
        x, y = _halve(x), _halve(y)
    return result.mean(1)


def _compare(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return l and cs at every position of the window."""
    mu_x, mu_y = _blur(x), _blur(y)
    s_xx, s_yy, s_xy = _blur(x * x) - mu_x**2, _blur(y * y) - mu_y**2, _blur(x * y) - mu_x * mu_y
    luminance = (2 * mu_x * mu_y + _C_1) / (mu_x**2 + mu_y**2 + _C_1)
    return luminance, (2 * s_xy + _C_2) / (s_xx + s_yy + _C_2)


def _blur(x: np.ndarray) -> np.ndarray:
    """Average under the window, at the positions where it lies within the image."""
    half = _WINDOW // 2
    g = np.exp(-0.5 * (np.arange(-half, half + 1) / _DEVIATION) ** 2)
    for axis in (2, 3):
        x = correlate1d(x, g / g.sum(), axis=axis)
    return x[:, :, half:-half, half:-half]


def _halve(x: np.ndarray) -> np.ndarray:
    """Average squares of 2 x 2 pixels, without an odd last row or column."""
    n, c, h, w = x.shape
    return x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))


def intra_class_similarity(
    images: Sample, labels: np.ndarray, classes: int, rng: np.random.Generator, pairs: int = 100
) -> Score:
    """Compute the mean similarity of two images of one class, which grows when modes collapse.

    Args:
        images: pixels 0 to 255, uint8, [N, C, H, W]; the extractor is the source of the labels.
        labels: class of each image, integers, [N].
        classes: number of classes.
        rng: generator of the pairs of two different images.
        pairs: number of pairs in each class; classes of fewer than two images are skipped.
    Returns:
        Mean and standard deviation over the classes; compare it with the value of real images: a
        far larger value indicates a collapse.
    Raises:
        DTypeError: images that are not uint8.
        ShapeError: not one label for each image, or a label that is not from 0 to classes - 1.
        ConfigError: no class has two images.

    Source: [M18 §4.2]; Odena, Olah and Shlens (2017)
    """
    x = images.values
    if x.dtype != np.uint8:
        raise DTypeError(
            f"intra_class_similarity: images of {images.source} are {x.dtype}; "
            "expected uint8, 0 to 255; convert them with minisn.data.unscale_images"
        )
    if labels.shape != (len(x),) or not np.isin(labels, np.arange(classes)).all():
        raise ShapeError(
            f"intra_class_similarity: expected {len(x)} labels, whole numbers from 0 to "
            f"{classes - 1}; got shape {list(labels.shape)}, values {np.unique(labels)[:12]}"
        )
    means = []
    for members in (np.flatnonzero(labels == c) for c in range(classes)):
        if len(members) > 1:
            first = rng.integers(len(members), size=pairs)
            second = (first + rng.integers(1, len(members), size=pairs)) % len(members)
            means.append(ms_ssim(x[members[first]], x[members[second]]).mean())
    if not means:
        raise ConfigError(
            f"intra_class_similarity: no class of {images.source} has two images; use more images"
        )
    return score(
        f"MS-SSIM within a class, {scales_for(*x.shape[2:])} scales, {pairs} pairs a class",
        means,
        images,
    )
