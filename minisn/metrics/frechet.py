"""The Fréchet distance between Gaussians fitted to features."""

import warnings

import numpy as np

from ..errors import ConfigError, ShapeError
from .results import LARGEST, Sample, Score, check_numbers, check_pair, score


def gaussian_frechet(mu_1: np.ndarray, C_1: np.ndarray, mu_2: np.ndarray, C_2: np.ndarray) -> float:
    r"""Compute the squared Fréchet distance between two Gaussians.

    .. math:: \|\mu_1 - \mu_2\|^2 + \mathrm{tr}\big(C_1 + C_2 - 2(C_1C_2)^{1/2}\big), \qquad
              \mathrm{tr}\,(C_1C_2)^{1/2} = \sum_t \sigma_t\big(C_1^{1/2}C_2^{1/2}\big)

    The eigenvalues of :math:`C_1C_2` are the squares of those singular values, so the sum needs
    only roots of symmetric matrices: it stays real and accurate even if a covariance is singular.

    Args:
        mu_1, mu_2: means, [d].
        C_1, C_2: covariances, symmetric and positive semidefinite, [d, d].
    Returns:
        The squared distance, at least 0.
    Raises:
        ShapeError: the means are no vectors of one length d, or a covariance is not [d, d].
        ConfigError: a covariance is not symmetric, or has a clearly negative eigenvalue.
        NonFiniteError: an entry is a NaN, an infinity or above
            :data:`~minisn.metrics.results.LARGEST` (in a covariance: above four times the square of
            that number).

    Source: [M18 Eq. (24)]
    Deviation: the usual code takes the root of the product, drops its imaginary part, and adds
    a small multiple of I to singular covariances.
    """
    check_numbers("gaussian_frechet", mu_1, mu_2, *(C / (4 * LARGEST) for C in (C_1, C_2)))
    mu_1, mu_2, C_1, C_2 = (np.asarray(a, np.float64) for a in (mu_1, mu_2, C_1, C_2))
    d = mu_1.size
    if any(mu.shape != (d,) for mu in (mu_1, mu_2)) or any(C.shape != (d, d) for C in (C_1, C_2)):
        shapes = ", ".join(str(list(a.shape)) for a in (mu_1, C_1, mu_2, C_2))
        raise ShapeError(
            "gaussian_frechet: expected mean [d] and covariance [d, d], twice, got "
            f"{shapes}; of features [N, d] take np.cov(features, rowvar=False)"
        )
    product = _root(C_1) @ _root(C_2)
    trace = np.linalg.svd(product, compute_uv=False).sum()
    distance = np.sum((mu_1 - mu_2) ** 2) + np.trace(C_1) + np.trace(C_2) - 2 * trace
    return float(max(distance, 0.0))


def _root(C: np.ndarray) -> np.ndarray:
    """Return the symmetric square root; eigenvalues just below 0 are rounding and count as 0."""
    peak = float(np.abs(C).max(initial=0.0))
    if np.abs(C - C.T).max(initial=0.0) > 1e-6 * peak:
        raise ConfigError("gaussian_frechet: a covariance is not symmetric")
    values, vectors = np.linalg.eigh(C)
    if values.min(initial=0.0) < -1e-6 * peak:
        raise ConfigError(
            f"gaussian_frechet: a covariance has the eigenvalue {values.min():.3g}; expected none "
            "below 0"
        )
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def frechet_distance(images: Sample, reference: Sample) -> Score:
    """Compute the Fréchet distance between the features of generated and of real images.

    The distance is :func:`gaussian_frechet` of the means and unbiased covariances of both. It
    depends on the number of images: with fewer images it is larger.

    Args:
        images, reference: features, [N, d] and [M, d], of one extractor.
    Returns:
        The squared distance, 0 for equal moments; smaller is better.
    Raises:
        ShapeError: fewer than two images, which have no covariance.
        ComparisonError: features of different extractors.
    Warns:
        UserWarning: d images or fewer: their covariance is singular, and most of the distance
            would vanish with more images.

    Source: [M18 Eq. (24)], [M18 App. B.1]
    """
    moments = []
    for values, source in zip(
        check_pair("frechet_distance", images, reference),
        (images.source, reference.source),
        strict=True,
    ):
        n, d = values.shape
        if n < 2:
            raise ShapeError(
                f"frechet_distance: {source} has {n} image; expected at least 2 for a "
                f"covariance, and more than {d} for a useful one"
            )
        if n <= d:
            warnings.warn(
                f"{source}: with {n} images the covariance of {d} features is singular, and the "
                f"Fréchet distance is mostly bias; use more than {d} images, if possible thousands",
                stacklevel=2,
            )
        moments += [values.mean(0), np.atleast_2d(np.cov(values, rowvar=False))]
    return score("Fréchet distance", [gaussian_frechet(*moments)], images, reference)
