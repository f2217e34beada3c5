"""Pixels as the networks see them, and back."""

import numpy as np

from minisn.errors import DTypeError, NonFiniteError


def scale_images(images: np.ndarray) -> np.ndarray:
    r"""Map pixels to [-1, 1], the range of the generator's tanh.

    .. math:: x = p / 127.5 - 1

    No noise is added: M18 names no dequantization, and its authors' CIFAR-10 code uses none
    (their ImageNet code does add uniform noise, one pixel level wide).

    Args:
        images: pixels 0 to 255, uint8, any shape.
    Returns:
        float32, same shape.
    Raises:
        DTypeError: the images are not uint8.
    """
    if images.dtype != np.uint8:
        raise DTypeError(
            f"scale_images: images are {images.dtype}, expected uint8; pass the pixels unscaled"
        )
    x = images.astype(np.float32)
    x /= np.float32(127.5)
    x -= np.float32(1)
    return x


def unscale_images(x: np.ndarray) -> np.ndarray:
    r"""Map [-1, 1] back to pixels: the inverse of `scale_images`.

    .. math:: p = \mathrm{round}(127.5\,(x + 1)), \text{ clipped to } 0 \dots 255

    Args:
        x: floats, any shape; values outside [-1, 1] are clipped.
    Returns:
        uint8, same shape.
    Raises:
        NonFiniteError: x holds a NaN or an infinity.
    """
    if not np.isfinite(x).all():
        raise NonFiniteError(
            "unscale_images: x holds a NaN or an infinity, expected finite numbers; "
            "look for the step at which training diverged"
        )
    return np.rint((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8)
