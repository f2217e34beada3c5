"""Features and class probabilities of images, from a feature network that ships."""

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
from safetensors.numpy import load as from_bytes

from .. import kernels, ops
from ..backend import to_numpy
from ..data import scale_images
from ..errors import DataError, ShapeError
from ..nn import Module, Sequential
from ..tensor import Tensor, no_grad
from .networks import NETWORKS, FeatureNetwork, Shape
from .results import Sample


@dataclass(frozen=True, eq=False)
class Extractor:
    """A feature network with its weights.

    Args:
        kind: the description of the network.
        network: the network from images to logits; the last layer maps features to logits.
        digest: SHA-256 of the file of its weights.
    """

    kind: FeatureNetwork
    network: Sequential
    digest: str

    @property
    def name(self) -> str:
        """Name of the network, which its results carry."""
        return self.kind.name

    def __call__(self, images: np.ndarray, source: str) -> tuple[Sample, Sample]:
        r"""Compute features and class probabilities.

        .. math:: p(c\,|\,x) = e^{l_c} / \textstyle\sum_j e^{l_j}

        Args:
            images: pixels 0 to 255, uint8, [N, C, H, W], as in a saved file.
            source: a description of the images.
        Returns:
            Features [N, d] before the last layer, and probabilities [N, classes], float64.
        Raises:
            ShapeError: images of another shape.
            DTypeError: images that are not uint8.

        Source: [M18 App. B.1]
        """
        if images.ndim != 4 or images.shape[1:] != self.kind.shape:
            raise ShapeError(
                f"{self.name}: expected images [N, {', '.join(map(str, self.kind.shape))}], got "
                f"{list(images.shape)}; for other images compute features elsewhere"
            )
        body, head = Sequential(*self.network.layers[:-1]), self.network.layers[-1]
        parts = [_apply(body, head, images[k : k + 500]) for k in range(0, len(images), 500)]
        features, p = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return (
            Sample(features, source, self.name, self.digest),
            Sample(p, source, self.name, self.digest),
        )


def _apply(body: Module, head: Module, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with no_grad(), kernels.one_pool():
        features = body(Tensor.wrap(scale_images(images)))
        logits = Tensor.wrap(to_numpy(head(features).array).astype(np.float64))
        p = ops.exp(ops.log_softmax(logits))
    return to_numpy(features.array).astype(np.float64), to_numpy(p.array)


@functools.cache
def extractor_for(shape: Shape) -> Extractor:
    """Read the feature network for images of one shape.

    Args:
        shape: shape of one image, (C, H, W).
    Returns:
        The network with its weights.
    Raises:
        ShapeError: no network ships for images of that shape.
        DataError: the file is missing, or is not the file that ships.
    """
    if shape not in NETWORKS:
        known = " and ".join(" x ".join(map(str, known)) for known in NETWORKS)
        raise ShapeError(
            f"no feature network ships for images of {' x '.join(map(str, shape))}, only for "
            f"{known}; compute features elsewhere"
        )
    return read_extractor(NETWORKS[shape])


def read_extractor(kind: FeatureNetwork) -> Extractor:
    """Read a feature network and check the digest of its file.

    Args:
        kind: the network to read.
    Raises:
        DataError: the file is missing or altered.
    """
    path = kind.path
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; reinstall minisn") from error
    found = hashlib.sha256(raw).hexdigest()
    if found != kind.digest:
        raise DataError(
            f"{path}: altered, its SHA-256 is {found}; expected {kind.digest}; reinstall minisn"
        )
    network = kind.build(np.random.default_rng(0))
    network.load_state_dict(from_bytes(raw))
    return Extractor(kind, network.eval(), found)


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images whose likeliest class is right.

    Args:
        probabilities: [N, classes].
        labels: integers, [N].
    Raises:
        ShapeError: the labels have another shape, which broadcasting would hide.
    """
    if np.shape(labels) != probabilities.shape[:1]:
        raise ShapeError(
            f"accuracy: expected labels of shape {probabilities.shape[:1]}, got {np.shape(labels)}"
        )
    return float(np.mean(probabilities.argmax(1) == labels))
