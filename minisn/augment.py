"""Differentiable augmentation: D sees every image, real or drawn, only after a random change.

A critic that trains on few images soon memorizes them; random changes turn few images into many.
Samples go through the same changes, and so does G's gradient. G therefore does not learn to draw
the changes.

Deviation: outside [M18], whose D sees images as they are; from Zhao et al. (2020),
"Differentiable Augmentation for Data-Efficient GAN Training".
"""

from collections.abc import Callable

import numpy as np

from . import ops
from .arguments import generator
from .backend import near
from .errors import ConfigError, DTypeError, nearest
from .tensor import Tensor, as_tensor, is_floating

SHIFT, HOLE = 1 / 8, 1 / 2
"""The largest shift of an image, and the side of the square cut out of it, in image sizes."""


def augment(x: Tensor, kinds: str, rng: np.random.Generator) -> Tensor:
    r"""Change each image at random, differentiably.

    .. math:: T(x) = (T_k \circ \dots \circ T_1)(x)

    Args:
        x: images in [-1, 1], [N, C, H, W].
        kinds: names of :data:`KINDS`, separated by commas, applied in this order; or ``none``.
        rng: draws the changes of each image, on the host.
    Returns:
        Images of the same shape; values may lie outside [-1, 1].
    Raises:
        ConfigError: no change has such a name.
        DTypeError: the images are not floating point.

    Source: Zhao et al. (2020)
    """
    rng = generator(rng)
    if not is_floating(as_tensor(x).array):
        raise DTypeError(f"augment: got {x.dtype} images; convert them with scale_images")
    for kind in kinds_of(kinds):
        if kind not in KINDS:
            raise ConfigError(f"augment: unknown change {kind!r}{nearest(kind, KINDS)}")
        x = KINDS[kind](x, rng)
    return x


def kinds_of(text: str) -> list[str]:
    """Split names at commas; ``none`` gives an empty list."""
    return [] if text == "none" else [part.strip() for part in text.split(",")]


def color(x: Tensor, rng: np.random.Generator) -> Tensor:
    r"""Change brightness, saturation and contrast.

    .. math:: x \leftarrow x + b, \qquad
              x \leftarrow \bar x_C + s\,(x - \bar x_C), \qquad
              x \leftarrow \bar x_{CHW} + c\,(x - \bar x_{CHW})

    with :math:`b \sim U[-\tfrac12, \tfrac12]`, :math:`s \sim U[0, 2]`,
    :math:`c \sim U[\tfrac12, \tfrac32]`, and the mean over the axes named. With one channel,
    the second step changes nothing.

    Args:
        x: images, [N, C, H, W].
        rng: draws b, s and c for each image.
    """
    rng = generator(rng)
    brightness, saturation, contrast = (
        _constant(rng.uniform(low, high, (len(x), 1, 1, 1)), x)
        for low, high in ((-0.5, 0.5), (0.0, 2.0), (0.5, 1.5))
    )
    x = x + brightness
    for factor, axes in ((saturation, (1,)), (contrast, (1, 2, 3))):
        middle = ops.mean(x, axis=axes, keepdims=True)
        x = middle + factor * (x - middle)
    return x


def translation(x: Tensor, rng: np.random.Generator) -> Tensor:
    r"""Move each image by whole pixels; the pixels left empty become 0, a middle gray.

    .. math:: y_{cij} = x_{c,\,i - a,\,j - b}, \qquad
              Y_c = A X_c B^T, \quad A_{i,\,i - a} = B_{j,\,j - b} = 1, \text{ else } 0

    with :math:`a, b` from :math:`-M/8` to :math:`M/8`, rounded. The moves are products with
    matrices of ones and zeros, so they are linear; their gradient is the move back.

    Args:
        x: images, [N, C, H, W].
        rng: draws a and b for each image.
    """
    rng = generator(rng)
    rows, columns = (_constant(_moves(len(x), size, rng), x) for size in x.shape[2:])
    return ops.matmul(ops.matmul(rows, x), ops.permute(columns, (0, 1, 3, 2)))


def cutout(x: Tensor, rng: np.random.Generator) -> Tensor:
    r"""Set a square of half the image's size, anywhere on it, to 0.

    .. math:: y_{cij} = m_{ij}\,x_{cij}, \qquad m_{ij} = 0 \text{ in the square, else } 1

    Args:
        x: images, [N, C, H, W].
        rng: draws the center of each square; part of a square may lie outside its image.
    """
    rng = generator(rng)
    down, right = (_hole(len(x), size, rng) for size in x.shape[2:])
    outside = ~(down[:, None, :, None] & right[:, None, None, :])
    return x * _constant(outside, x)


KINDS: dict[str, Callable[[Tensor, np.random.Generator], Tensor]] = {
    "color": color, "translation": translation, "cutout": cutout,
}  # fmt: skip
"""The changes by name."""


def _moves(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return for each image a matrix that moves its rows down: [N, 1, size, size]."""
    most = round(SHIFT * size)
    shifts = rng.integers(-most, most, (count, 1, 1, 1), endpoint=True)
    place = np.arange(size)
    return place[:, None] - place[None, :] == shifts


def _hole(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Mark the rows of each image that the square covers, [N, size]."""
    side = round(HOLE * size)
    first = rng.integers(0, size, (count, 1), endpoint=True) - side // 2
    place = np.arange(size)
    return (place >= first) & (place < first + side)


def _constant(array: np.ndarray, beside: Tensor) -> Tensor:
    """Convert random numbers to the library, device and dtype of the images."""
    return Tensor.wrap(near(beside.array).asarray(array.astype(np.float64), dtype=beside.dtype))
