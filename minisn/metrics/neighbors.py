"""Precision and recall of generated images, from nearest neighbors among features."""

import numpy as np
from scipy.spatial.distance import cdist

from ..errors import ConfigError
from .results import Sample, Score, check_pair, score

_ROWS = 1000  # rows of distances at once: 40 MB against 5,000 images


def radii(x: np.ndarray, k: int) -> np.ndarray:
    """Return the distance of each row to its k-th nearest other row.

    Args:
        x: features, [N, d].
        k: 1 to N - 1.
    Returns:
        [N].
    """
    parts = [x[i : i + _ROWS] for i in range(0, len(x), _ROWS)]
    return np.concatenate([np.partition(cdist(part, x), k, axis=1)[:, k] for part in parts])


def covered(x: np.ndarray, y: np.ndarray, r_x: np.ndarray, r_y: np.ndarray) -> tuple[float, float]:
    r"""Return the share of each set that lies within a ball around a row of the other set.

    .. math:: \frac1n \sum_i \mathbb 1\big[\exists j: \|x_i - y_j\|_2 \le r_j\big]

    Args:
        x, y: features, [n, d] and [m, d].
        r_x, r_y: radius of the ball around each row, [n] and [m].
    Returns:
        (share of x, share of y).
    """
    of_x, of_y = [], np.zeros(len(y), bool)
    for i in range(0, len(x), _ROWS):
        distances = cdist(x[i : i + _ROWS], y)
        of_x.append((distances <= r_y).any(1))
        of_y |= (distances <= r_x[i : i + _ROWS, None]).any(0)
    return float(np.concatenate(of_x).mean()), float(of_y.mean())


def precision_recall(images: Sample, reference: Sample, k: int = 3) -> tuple[Score, Score]:
    """Compute the share of realistic samples, and the share of real images that samples cover.

    Each set covers the union of balls around its features; each ball reaches to the k-th nearest
    neighbor in the set. Precision is the share of generated features that the real images cover;
    recall is the share of real features that the generated images cover.

    Args:
        images, reference: features, [N, d] and [M, d], of one extractor.
        k: number of the neighbor; a smaller number gives smaller balls.
    Returns:
        (precision, recall), 0 to 1; larger is better.
    Raises:
        ConfigError: k is less than 1, or not less than the number of images.
        ComparisonError: features of different extractors.

    Source: Kynkäänniemi et al. (2019), Eqs. (1)-(2)
    """
    x, y = check_pair("precision_recall", images, reference)
    if not 1 <= k < min(len(x), len(y)):
        raise ConfigError(
            f"precision_recall: k = {k}; expected from 1 to {min(len(x), len(y)) - 1}, less than "
            f"the {len(x)} and {len(y)} images"
        )
    _, power = np.frexp(max(np.max(np.abs(x)), np.max(np.abs(y))))
    x, y = np.ldexp(x, -power), np.ldexp(y, -power)  # squares of small distances would underflow
    precision, recall = covered(x, y, radii(x, k), radii(y, k))
    return (
        score(f"precision, k = {k}", [precision], images, reference),
        score(f"recall, k = {k}", [recall], images, reference),
    )
