"""The search for a small change of an image that changes its class."""

import numpy as np

from .. import kernels, ops
from ..arguments import generator, whole_number
from ..errors import ConfigError, ShapeError
from ..labels import Labels, labels_of
from ..nn import Module
from ..tensor import Tensor, grad


def attack(
    network: Module,
    images: np.ndarray,
    labels: np.ndarray,
    radius: float | np.ndarray,
    rng: np.random.Generator,
    steps: int = 40,
    restarts: int = 3,
) -> np.ndarray:
    r"""Search a ball for the image with the least margin, by projected gradient descent.

    .. math:: m(x) = f_y(x) - \max_{j\ne y} f_j(x), \qquad
              \delta \leftarrow \Pi_r\Big(\delta - \eta\,\frac{\nabla m}{\|\nabla m\|_2}\Big),
              \quad \Pi_r(\delta) = \delta\,\min\big(1, r / \|\delta\|_2\big),
              \quad \eta = \frac{2.5\,r}{\text{steps}}

    The first descent starts at the image itself, the others on the sphere. The result is the image
    with the least margin on all descents. The ball may leave the range of pixel values, which
    makes the attack no weaker. A failed attack proves nothing; a successful attack refutes a
    certificate.

    Args:
        network: maps images to logits [N, classes].
        images, labels: [N, ...] and integers [N].
        radius: r, in the units of the images; one number, or one for each image.
        rng: random generator of the starts.
        steps, restarts: steps of a descent, and number of descents, at least 1.
    Raises:
        ShapeError: a label is not a class, or the labels are not [N].
        ConfigError: a radius is negative, or a number is too small.
    Returns:
        The images found, within the radius up to rounding; an image is misclassified if its
        margin is below 0.

    Source: Madry et al. (2018)
    """
    rng, known = generator(rng), labels_of("attack", labels, images)
    if known.shape != images.shape[:1]:
        raise ShapeError(f"attack: {len(images)} images need labels [N], got shape {known.shape}")
    steps, restarts = (
        whole_number(f"attack: {name}", n, least=1)
        for name, n in (("steps", steps), ("restarts", restarts))
    )
    ones = (1,) * (images.ndim - 1)
    r = np.broadcast_to(np.asarray(radius, images.dtype), len(images)).reshape(-1, *ones)
    if not (r >= 0).all():
        raise ConfigError(f"attack: expected radii of at least 0, got {radius!r:.60}")
    found, least = images, np.full(len(images), np.inf)
    for start in range(restarts):
        delta = np.zeros_like(images)
        if start:
            delta = r * _unit(rng.standard_normal(images.shape, images.dtype))
        for _ in range(steps + 1):
            x = images + delta
            margin, slope = _margin(network, x, known)
            better = margin < least
            least = np.where(better, margin, least)
            found = np.where(better.reshape(-1, *ones), x, found)
            delta = delta - 2.5 / steps * r * _unit(slope)
            delta = delta * np.minimum(1, r / np.maximum(_length(delta), np.finfo(r.dtype).tiny))
    return found


def _margin(network: Module, x: np.ndarray, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Return the margin of each label's logit over the largest other logit, and its gradient."""
    images = Tensor.wrap(x, requires_grad=True)
    with kernels.one_pool():
        f = network(images)
        labels.check("attack", f.shape[1])
        right = Tensor.wrap(np.arange(f.shape[1]) == labels.numpy()[:, None])
        others = ops.max(ops.where(right, -np.inf, f), axis=1)
        margin = ops.sum(ops.where(right, f, 0.0), axis=1) - others
        return margin.array, grad(ops.sum(margin), images).array


def _length(x: np.ndarray) -> np.ndarray:
    return np.sqrt((x * x).sum(axis=tuple(range(1, x.ndim)), keepdims=True))


def _unit(x: np.ndarray) -> np.ndarray:
    """Scale each item to length 1; zero stays zero."""
    return x / np.maximum(_length(x), np.finfo(x.dtype).tiny)
