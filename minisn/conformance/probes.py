r"""The layers under test, and the basis that reveals the linear map of a layer.

Weights lie as in PyTorch: dense [d_out, d_in], convolution [d_out, d_in, h, w], transposed
convolution [d_in, d_out, h, w], embedding [labels, size]. An adapter for a library with another
layout converts them. This file needs only NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SIZE = 6
"""Rows and columns of the images for a convolution, whose padding and stride are 1."""


@dataclass(frozen=True)
class Kind:
    """A kind of layer.

    Args:
        title: name in words.
        shape: shape of the weight.
        axis: output axis of the weight.
    """

    title: str
    shape: tuple[int, ...]
    axis: int


KINDS = {
    "dense": Kind("dense", (6, 9), 0),
    "conv": Kind("convolution", (5, 3, 3, 3), 0),
    "deconv": Kind("transposed convolution", (7, 3, 4, 4), 1),
    "embedding": Kind("embedding", (8, 5), 0),
}
"""The kinds of layers; their shapes distinguish implementations."""


def draw(kind: str, seed: int = 0) -> np.ndarray:
    """Draw a Gaussian weight, always the same one, with a well-separated first singular value.

    Args:
        kind: one of :data:`KINDS`.
        seed: selects another weight.
    """
    rng = np.random.default_rng([7, seed, list(KINDS).index(kind)])
    view = along(kind, KINDS[kind].axis)
    W = rng.standard_normal(KINDS[kind].shape)
    U, s, Vt = np.linalg.svd(view.matrix(W), full_matrices=False)
    return W + 0.2 * s[0] * view.back(np.outer(U[:, 0], Vt[0]))


def slow(kind: str = "dense") -> np.ndarray:
    """Make a weight of norm 2.2 with slow power iteration: its second singular value is close.

    Args:
        kind: one of :data:`KINDS`.
    """
    view = along(kind, KINDS[kind].axis)
    U, s, Vt = np.linalg.svd(view.matrix(draw(kind, 1)), full_matrices=False)
    values = [1.0, 0.97, 0.8, 0.6, 0.4, 0.2][: len(s)]
    return view.back(2.2 * (U[:, : len(values)] * values) @ Vt[: len(values)])


def start() -> tuple[np.ndarray, np.ndarray]:
    """Draw the unit vectors u [6] and v [9] that a dense layer starts from."""
    rng = np.random.default_rng(11)
    u, v = rng.standard_normal(6), rng.standard_normal(9)
    return u / np.linalg.norm(u), v / np.linalg.norm(v)


def inputs(kind: str, width: int = 9) -> np.ndarray:
    """Return the inputs for a layer of this kind: a batch of basis vectors.

    Dense [9, 9]; images [3, 3, 6, 6] with one bright pixel; images [7, 7, 1, 1]; labels [8].

    Args:
        kind: one of :data:`KINDS`.
        width: d_in of a dense layer.
    """
    if kind == "dense":
        return np.eye(width)
    if kind == "deconv":
        return np.eye(7).reshape(7, 7, 1, 1)
    if kind == "embedding":
        return np.arange(8)
    x = np.zeros((3, 3, SIZE, SIZE))
    x[range(3), range(3), 2, 2] = 1.0
    return x


def read_off(kind: str, y: np.ndarray) -> np.ndarray:
    """Return the weight that a layer has applied, from its outputs for :func:`inputs`.

    Args:
        kind: kind of the layer.
        y: the outputs, channels before rows and columns.
    """
    if kind == "dense":
        return np.asarray(y).T
    if kind == "conv":
        return np.swapaxes(np.asarray(y)[:, :, 3:0:-1, 3:0:-1], 0, 1)
    return np.asarray(y)


def spread(kind: str, G: np.ndarray) -> np.ndarray:
    r"""Return g with :math:`\langle g, y\rangle = \langle G, \bar W\rangle`: adjoint of read_off.

    Args:
        kind: kind of the layer.
        G: a gradient for the applied weight.
    """
    if kind == "dense":
        return G.T
    if kind == "conv":
        g = np.zeros((3, 5, SIZE, SIZE))
        g[:, :, 3:0:-1, 3:0:-1] = np.swapaxes(G, 0, 1)
        return g
    return G


# -- weights as matrices, and back -------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """A linear map from a weight to a matrix, with its adjoint.

    Args:
        matrix: maps a weight to a matrix.
        back: maps a matrix to a weight.
    """

    matrix: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]


def along(kind: str, axis: int) -> View:
    """Return the view of a weight as a matrix with one row for each index of an axis.

    Args:
        kind: kind of the layer.
        axis: axis of the weight.
    """
    shape = KINDS[kind].shape
    moved = (shape[axis], *np.delete(shape, axis))
    return View(
        lambda W: np.moveaxis(W, axis, 0).reshape(shape[axis], -1),
        lambda M: np.moveaxis(M.reshape(moved), 0, axis),
    )


def operator() -> View:
    """Return the view of a convolution as a matrix between whole images, padded with zeros."""
    o, i, a, b, r, c = np.indices((*KINDS["conv"].shape, SIZE, SIZE)).reshape(6, -1)
    y, x = r + a - 1, c + b - 1
    inside = (y >= 0) & (y < SIZE) & (x >= 0) & (x < SIZE)
    rows = ((o * SIZE + r) * SIZE + c)[inside]
    columns = ((i * SIZE + y) * SIZE + x)[inside]
    taps = np.ravel_multi_index((o, i, a, b), KINDS["conv"].shape)[inside]

    def matrix(W: np.ndarray) -> np.ndarray:
        M = np.zeros((5 * SIZE**2, 3 * SIZE**2))
        M[rows, columns] = W.ravel()[taps]
        return M

    def back(M: np.ndarray) -> np.ndarray:
        return np.bincount(taps, M[rows, columns], 135).reshape(KINDS["conv"].shape)

    return View(matrix, back)
