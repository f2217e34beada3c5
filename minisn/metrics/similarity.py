"""Multi-scale structural similarity, and its mean within a class: a measure of mode collapse."""

import numpy as np
from scipy.ndimage import correlate1d

from ..errors import ConfigError, DTypeError, ShapeError
from .results import Sample, Score, score

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, the finest first."""

_WINDOW, _DEVIATION, _RANGE = 11, 1.5, 255.0  # pixels, pixels, greatest difference of pixels
_C_1, _C_2 = (0.01 * _RANGE) ** 2, (0.03 * _RANGE) ** 2


def scales_for(height: int, width: int) -> int:
    """Return how many scales images have room for: halved each time, the window must fit.

    Two for images of 28 to 43 pixels, three from 44 (so for 48), all five from 176 on.

    Args:
        height, width: pixels.
    Raises:
        ShapeError: not even one scale fits, below 11 pixels.
    """
    count = sum(min(height, width) >> k >= _WINDOW for k in range(len(WEIGHTS)))
    if not count:
        raise ShapeError(
            f"ms_ssim: images of {height} x {width} pixels are smaller than the window, "
            f"{_WINDOW} x {_WINDOW}; take larger images"
        )
    return count


def ms_ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    r"""Compute the multi-scale structural similarity of pairs of images.

    .. math:: l_M^{\alpha_M} \prod_{j=1}^M (cs_j)^{\alpha_j}, \qquad
              l = \frac{2\mu_x\mu_y + c_1}{\mu_x^2 + \mu_y^2 + c_1}, \quad
              cs = \frac{2\sigma_{xy} + c_2}{\sigma_x^2 + \sigma_y^2 + c_2}

    with moments under a Gaussian window of 11 pixels and deviation 1.5 that stays within the
    image. Each scale averages squares of 2 x 2 pixels of the one before. At each scale
    :math:`cs` (at the last :math:`l\,cs`) is averaged over the image, and taken as 0 where
    that is negative; the result is averaged over the channels.

    Deviation: of the five scales only those that fit are used (:func:`scales_for`), their
    exponents divided by their sum. The measure's authors judge grey images; of colour images
    each channel is judged alone.

    Args:
        x, y: pixels 0 to 255, [N, C, H, W].
    Returns:
        Similarities, 0 to 1 (of equal images), [N].
    Raises:
        ShapeError: unlike shapes, or images below 11 pixels.
        DTypeError: a pixel is not from 0 to 255.

    Source: [M18 §4.2]; Wang, Simoncelli and Bovik (2003)
    """
    if x.ndim != 4 or x.shape != y.shape:
        raise ShapeError(
            f"ms_ssim: expected two arrays [N, C, H, W] of one shape, got {list(x.shape)} and "
            f"{list(y.shape)}"
        )
    if not all(0 <= a.min() <= a.max() <= _RANGE for a in (x, y)):
        raise DTypeError(
            "ms_ssim: a pixel is not a number from 0 to 255; see "
            "minisn.data.unscale_images for images in (-1, 1)"
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
    """Return l and cs at every place of the window."""
    mu_x, mu_y = _blur(x), _blur(y)
    s_xx, s_yy, s_xy = _blur(x * x) - mu_x**2, _blur(y * y) - mu_y**2, _blur(x * y) - mu_x * mu_y
    luminance = (2 * mu_x * mu_y + _C_1) / (mu_x**2 + mu_y**2 + _C_1)
    return luminance, (2 * s_xy + _C_2) / (s_xx + s_yy + _C_2)


def _blur(x: np.ndarray) -> np.ndarray:
    """Average under the window, where it lies within the image."""
    half = _WINDOW // 2
    g = np.exp(-0.5 * (np.arange(-half, half + 1) / _DEVIATION) ** 2)
    for axis in (2, 3):
        x = correlate1d(x, g / g.sum(), axis=axis)
    return x[:, :, half:-half, half:-half]


def _halve(x: np.ndarray) -> np.ndarray:
    """Average squares of 2 x 2 pixels; an odd last row or column is left out."""
    n, c, h, w = x.shape
    return x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))


def intra_class_similarity(
    images: Sample, labels: np.ndarray, classes: int, rng: np.random.Generator, pairs: int = 100
) -> Score:
    """Compute the mean similarity of two images of one class: it grows when modes collapse.

    Args:
        images: pixels 0 to 255, uint8, [N, C, H, W]; their extractor is what labelled them.
        labels: class of each, integers, [N].
        classes: how many there are.
        rng: draws the pairs, two different images each.
        pairs: in each class that has two images or more; others are left out.
    Returns:
        Mean over the classes and their standard deviation; the mean for data is what
        diversity looks like, far more is a collapse.
    Raises:
        DTypeError: images that are not uint8.
        ShapeError: not one label for each image, or one that is not from 0 to classes - 1.
        ConfigError: no class has two images.

    Source: [M18 §4.2]; Odena, Olah and Shlens (2017)
    """
    x = images.values
    if x.dtype != np.uint8:
        raise DTypeError(
            f"intra_class_similarity: images of {images.source} are {x.dtype}, "
            "expected uint8, 0 to 255; see minisn.data.unscale_images"
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
            f"intra_class_similarity: no class of {images.source} has two images; take more images"
        )
    return score(
        f"MS-SSIM within a class, {scales_for(*x.shape[2:])} scales, {pairs} pairs a class",
        means,
        images,
    )
