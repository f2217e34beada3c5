"""Reading the samples that ship with minisn."""

import io

import numpy as np

from minisn.data.catalog import Content
from minisn.data.locate import PACKAGE_FOLDER
from minisn.data.storage import check_content, read_at_most


def read_sample(content: Content) -> tuple[np.ndarray, np.ndarray]:
    """Read a sample that ships with minisn.

    Args:
        content: the file of the sample in the package.
    Returns:
        Images, uint8, [N, C, H, W], and labels, uint8, [N].
    Raises:
        DataError: the file is missing, or is not the file that ships.
    """
    path = PACKAGE_FOLDER / content.name
    raw = read_at_most(path, content.size)
    check_content(raw, content, path)
    with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
        if "residual" in arrays:
            return _from_residual(arrays["residual"]), arrays["y"]
        return arrays["x"][:, None], arrays["y"]


def _from_residual(residual: np.ndarray) -> np.ndarray:
    """Recover color images from differences modulo 256, which deflate a third smaller.

    The file holds the planes G, R - G and B - G, [3, N, H, W]. Each plane holds differences from
    the pixel above, and then differences of these from the entry to the left.
    """
    green, red, blue = residual.cumsum(3, dtype=np.uint8).cumsum(2, dtype=np.uint8)
    return np.stack([red + green, green, blue + green], axis=1)
