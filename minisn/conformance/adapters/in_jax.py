"""What the libraries on JAX share: layouts, types, and the asking of a pure function of W."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..probes import inputs, read_off, spread

jax.config.update("jax_enable_x64", True)  # else float64 is float32 without a word


def images_last(kind: str, x: Any) -> Any:
    """Move channels behind rows and columns, where there are any."""
    return x if kind in ("dense", "embedding") else np.moveaxis(x, 1, -1)


def images_first(kind: str, y: Any) -> Any:
    """Move channels before rows and columns, where there are any."""
    return y if kind in ("dense", "embedding") else np.moveaxis(y, -1, 1)


def to_kernel(kind: str, W: np.ndarray) -> np.ndarray:
    """Lay a weight out as Flax's kernel: output channels last; a transposed one is flipped."""
    if kind == "dense":
        return W.T
    if kind == "conv":
        return W.transpose(2, 3, 1, 0)
    return W[:, :, ::-1, ::-1].transpose(2, 3, 0, 1) if kind == "deconv" else W


def from_kernel(kind: str, K: Any) -> np.ndarray:
    """Lay Flax's kernel out as here: the inverse of :func:`to_kernel`."""
    K = np.asarray(K)
    if kind == "dense":
        return K.T
    if kind == "conv":
        return K.transpose(3, 2, 0, 1)
    return K.transpose(2, 3, 0, 1)[:, :, ::-1, ::-1] if kind == "deconv" else K


def shown(kind: str, width: int, dtype: str) -> Any:
    """Return the inputs, channels last."""
    x = images_last(kind, inputs(kind, width))
    return x if kind == "embedding" else jax.numpy.asarray(x, dtype)


def weight_of(kind: str, y: Any) -> np.ndarray:
    """Return the weight that outputs, channels last, tell."""
    return read_off(kind, images_first(kind, np.asarray(y)))


def spread_last(kind: str, G: np.ndarray) -> np.ndarray:
    """Spread a gradient over outputs, channels last."""
    return images_last(kind, spread(kind, G))
