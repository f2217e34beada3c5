"""The feature network that ships: it knows handwritten digits, and nothing else.

It takes the place of Inception where images are digits. Numbers that come of it say nothing
beside numbers that come of Inception: its name and its digest travel with every result.
"""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load as from_bytes

from .. import kernels, ops
from ..backend import to_numpy
from ..data import Dataset, scale_images
from ..errors import DataError, ShapeError
from ..init import kaiming
from ..nn import Conv2d, LeakyReLU, Linear, Module, Reshape, Sequential
from ..tensor import Tensor, no_grad
from .results import Sample

NAME = "mnist-digits-cnn-v1"
"""Of the network and its file."""

DIGEST = "a502a311e321be603ff6d961e44ffcdd1bbbefff068fed00c3a6a00a41e14d04"
"""SHA-256 of the file that ships, which :mod:`minisn.metrics.train_features` wrote."""

PATH = Path(__file__).parent / "files" / f"{NAME}.safetensors"
CLASSES, FEATURES, SHAPE, HELD_OUT = 10, 64, (1, 28, 28), 1000


def digits_network(rng: np.random.Generator) -> Sequential:
    """Build the network: images [N, 1, 28, 28] to the logits of ten digits.

    Three convolutions to 16, 32 and 64 channels, two dense layers to 64 and 10 numbers, leaky
    ReLU between. The features are the 64 numbers before the last layer, after their leaky ReLU.

    Args:
        rng: draws the weights.
    """
    init = kaiming(0.1)
    return Sequential(
        Conv2d(1, 16, 3, rng, padding=1, init=init), LeakyReLU(),
        Conv2d(16, 32, 4, rng, stride=2, padding=1, init=init), LeakyReLU(),
        Conv2d(32, 64, 4, rng, stride=2, padding=1, init=init), LeakyReLU(),
        Reshape(-1), Linear(64 * 7 * 7, FEATURES, rng, init=init), LeakyReLU(),
        Linear(FEATURES, CLASSES, rng, init=init),
    )  # fmt: skip


def held_out(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Split the shipped digits into those to train on and those to test with.

    Args:
        data: ``load("mnist-10k")``.
    Returns:
        Row numbers, [N - 1000] and [1000]; always the same.
    """
    order = np.random.default_rng(0).permutation(len(data.images))
    return order[:-HELD_OUT], order[-HELD_OUT:]


@dataclass(frozen=True, eq=False)
class Extractor:
    """A network that measures images.

    Args:
        network: images to logits; its last layer turns features into logits.
        digest: SHA-256 of the file its weights come from.
        name: what its results are labelled with.
    """

    network: Sequential
    digest: str
    name: str = NAME

    def __call__(self, images: np.ndarray, source: str) -> tuple[Sample, Sample]:
        r"""Compute features and class probabilities.

        .. math:: p(c\,|\,x) = e^{l_c} / \textstyle\sum_j e^{l_j}

        Args:
            images: pixels 0 to 255, uint8, [N, 1, 28, 28]: samples as they would be saved.
            source: what the images are, for people.
        Returns:
            Features [N, 64] before the softmax's layer, and probabilities [N, 10], float64.
        Raises:
            ShapeError: images of another shape.
            DTypeError: images that are not uint8.

        Source: [M18 App. B.1]
        """
        if images.ndim != 4 or images.shape[1:] != SHAPE:
            raise ShapeError(
                f"{self.name}: expected images [N, 1, 28, 28], got {list(images.shape)}; for "
                "other images compute features elsewhere"
            )
        body, head = Sequential(*self.network.layers[:-1]), self.network.layers[-1]
        parts = [_apply(body, head, images[k : k + 500]) for k in range(0, len(images), 500)]
        features, p = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return (Sample(features, source, self.name, self.digest),
                Sample(p, source, self.name, self.digest))  # fmt: skip


def _apply(body: Module, head: Module, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with no_grad(), kernels.one_pool():
        features = body(Tensor.wrap(scale_images(images)))
        logits = Tensor.wrap(to_numpy(head(features).array).astype(np.float64))
        p = ops.exp(ops.log_softmax(logits))
    return to_numpy(features.array).astype(np.float64), to_numpy(p.array)


@functools.cache
def digits_extractor(path: Path = PATH) -> Extractor:
    """Read the network that ships.

    Args:
        path: its file.
    Returns:
        The network, ready to measure.
    Raises:
        DataError: the file is missing, or not the one that was shipped.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; install minisn anew") from error
    found = hashlib.sha256(raw).hexdigest()
    if found != DIGEST:
        raise DataError(f"{path}: altered, its SHA-256 is {found}; expected {DIGEST}; "
                        "install minisn anew")  # fmt: skip
    network = digits_network(np.random.default_rng(0))
    network.load_state_dict(from_bytes(raw))
    return Extractor(network.eval(), found)


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images whose likeliest class is the right one.

    Args:
        probabilities: [N, classes].
        labels: integers, [N].
    """
    return float(np.mean(probabilities.argmax(1) == labels))
