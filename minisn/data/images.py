"""Mapping pixels to the range of the networks and back."""

import numpy as np

from minisn.errors import ConfigError, DTypeError, NonFiniteError, ShapeError


def check_images(images: np.ndarray, size: int) -> None:
    """Check that an array holds images to train on; the error says how to convert it.

    Args:
        images: expected uint8, [N, C, size, size]; C is 1 (gray) or 3 (red, green, blue).
        size: expected height and width, pixels.
    Raises:
        DTypeError: not a NumPy array, or not uint8.
        ShapeError: another layout, or images that are not square.
        ConfigError: images of another size.
    """
    if not isinstance(images, np.ndarray):
        raise DTypeError(
            f"images are of type {type(images).__name__}; expected a NumPy array, uint8, "
            f"[N, C, {size}, {size}]; pass np.array(images)"
        )
    if images.dtype != np.uint8:
        raise DTypeError(
            f"images are {images.dtype}{_range(images)}; expected uint8, pixels 0 to 255; "
            f"pass {_to_pixels(images)}"
        )
    expected = f"expected [N, C, {size}, {size}], C = 1 (gray) or 3 (red, green, blue)"
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        last = images.ndim == 4 and images.shape[3] in (1, 3)
        advice = {3: "; pass images[:, None]", 4: "; pass images.transpose(0, 3, 1, 2)" * last}
        raise ShapeError(
            f"images have shape {list(images.shape)}; {expected}{advice.get(images.ndim, '')}"
        )
    height, width = images.shape[2:]
    if height != width:
        raise ShapeError(f"images have {height} x {width} pixels; {expected}; crop them to squares")
    if height != size:
        raise ConfigError(
            f"the images have {height} x {width} pixels, but size = {size}; add --set "
            f"size={height} (in Python: size={height}), or choose other data"
        )


def _range(images: np.ndarray) -> str:
    """Write the least and the greatest value of an array of real numbers; else nothing."""
    if not images.size or images.dtype.kind not in "iuf":
        return ""
    return f" from {images.min():.4g} to {images.max():.4g}"


def _to_pixels(images: np.ndarray) -> str:
    """Guess from the range of an array how to convert it to pixels."""
    if images.size and images.dtype.kind in "iufb":
        low, high = float(images.min()), float(images.max())
        if -1 <= low < 0 and high <= 1 and images.dtype.kind == "f":
            return "minisn.data.unscale_images(images)"
        if 0 <= low <= high <= 1:
            return "np.rint(255 * images).astype(np.uint8)"
        if 0 <= low <= high <= 255:
            return "np.rint(images).astype(np.uint8)"
    return "pixels in that range"


def scale_images(images: np.ndarray) -> np.ndarray:
    r"""Map pixels to [-1, 1], the range of the generator's tanh.

    .. math:: x = p / 127.5 - 1

    Args:
        images: pixels 0 to 255, uint8, any shape.
    Returns:
        Array, float32, same shape.
    Raises:
        DTypeError: the images are not uint8.

    Deviation: M18 names no noise, and the authors' chainer-gan-lib adds none; their
    sngan_projection adds noise, see :func:`dequantize_images`.
    """
    return _scaled("scale_images", images, 127.5)


def dequantize_images(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    r"""Map pixels to [-1, 1] and add uniform noise below one level.

    .. math:: x = p / 128 - 1 + \epsilon, \qquad \epsilon \sim U[0, 1/128)

    The authors' sngan_projection reads images in this way; M18 does not mention it.

    Args:
        images: pixels 0 to 255, uint8, any shape.
        rng: generator of the noise.
    Returns:
        Array, float32, same shape.
    Raises:
        DTypeError: the images are not uint8.
    """
    x = _scaled("dequantize_images", images, 128)
    x += rng.random(x.shape, np.float32) / np.float32(128)
    return x


def _scaled(name: str, images: np.ndarray, half: float) -> np.ndarray:
    if images.dtype != np.uint8:
        raise DTypeError(
            f"{name}: images are {images.dtype}; expected uint8; pass the pixels 0 to 255"
        )
    x = images.astype(np.float32)
    x /= np.float32(half)
    x -= np.float32(1)
    return x


def unscale_images(x: np.ndarray) -> np.ndarray:
    r"""Map [-1, 1] back to pixels: the inverse of :func:`scale_images`.

    .. math:: p = \mathrm{round}(127.5\,(x + 1)), \text{ clipped to } 0 \dots 255

    Args:
        x: floats, any shape; values outside [-1, 1] are clipped.
    Returns:
        Pixels, uint8, same shape.
    Raises:
        DTypeError: x are whole numbers, such as pixels.
        NonFiniteError: x holds a NaN or an infinity.
    """
    if x.dtype.kind != "f":
        raise DTypeError(f"unscale_images: expected floats in [-1, 1], got dtype {x.dtype}")
    if not np.isfinite(x).all():
        raise NonFiniteError(
            "unscale_images: x holds a NaN or an infinity; expected finite numbers; "
            "look for the step at which training diverged"
        )
    return np.rint((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8)
