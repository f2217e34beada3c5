"""Conditional networks: labels enter G by normalization, and D by one of three ways.

Source: [M18 Table 6], [M18 Table 8]; Miyato and Koyama (2018)
"""

from typing import Any

import numpy as np

from .. import ops
from ..errors import ConfigError, ShapeError
from ..labels import labels_of
from ..nn import BatchNorm, ConditionalBatchNorm, Embedding, Linear, Module, Sequential
from ..regularizers import Method
from ..tensor import Tensor, broadcast_to

CONDITIONAL = ("none", "concat", "projection", "auxiliary")
"""The ways in which labels enter D, by name."""


class Labeled(Module):
    """A part of a network that takes the labels of its batch."""


class Chain(Sequential, Labeled):
    """A chain of modules, which passes labels to the modules that take them."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
        """Apply all modules to a batch of N items, with labels, integers, [N], if any.

        Raises:
            ShapeError: the number of labels is not N.
        """
        if labels is not None:
            labels = labels_of("Chain", labels, x.array)
            if labels.shape != x.shape[:1]:
                raise ShapeError(
                    f"expected {len(x)} labels, one for each item of the batch, got shape "
                    f"{list(labels.shape)}"
                )
        for layer in self.layers:
            takes = isinstance(layer, Labeled | ConditionalBatchNorm)
            x = layer(x, labels) if takes else layer(x)
        return x


class Join(Labeled):
    r"""Concatenation of the embedding of an image's label to the channels of every pixel.

    .. math:: y_n = [\,h_n,\; E_{c_n}\,]

    Args:
        embedding: E, the embedding of the labels.

    Source: [M18 Table 6]
    """

    def __init__(self, embedding: Embedding):
        super().__init__()
        self.embedding = embedding

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Join embeddings to images [N, C, H, W]."""
        e = self.embedding(labels)
        n, size = e.shape
        pixels = broadcast_to(e.reshape(n, size, 1, 1), shape=(n, size, *x.shape[2:]))
        return ops.concat([x, pixels], axis=1)


class Projection(Labeled):
    r"""A score of features, plus their inner product with the vector of the label.

    .. math:: D(x, y) = y^T V \phi(x) + \psi(\phi(x))

    Here y is a one-hot vector, so :math:`y^T V` is a row of V.

    Args:
        psi: module from features [N, d] to [N, 1].
        V: embedding of the labels, [classes, d].

    Source: Miyato and Koyama (2018)
    """

    def __init__(self, psi: Module, V: Embedding):
        super().__init__()
        self.psi, self.V = psi, V

    def forward(self, phi: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the scores, [N, 1], of features [N, d]."""
        return ops.sum(self.V(labels) * phi, axis=1, keepdims=True) + self.psi(phi)


class Auxiliary(Module):
    r"""A score of features, and the logits of an auxiliary classifier: AC-GAN.

    .. math:: D(x) = \psi(\phi(x)), \qquad
              \log p(c\,|\,x) = l_c - \log \textstyle\sum_j e^{l_j}, \quad l = C\phi(x) + b

    Args:
        psi: module from features [N, d] to [N, 1].
        classifier: layer from features to l, [N, classes].

    Source: [M18 Table 8]; Odena et al. (2017)
    """

    def __init__(self, psi: Module, classifier: Linear):
        super().__init__()
        self.psi, self.classifier = psi, classifier

    def forward(self, phi: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores, [N, 1], and the logits l of features [N, d]."""
        return self.psi(phi), self.classifier(phi)


def batch_norm(channels: int, classes: int) -> BatchNorm:
    """Return the batch normalization of G, conditional if there are classes."""
    return ConditionalBatchNorm(channels, classes) if classes else BatchNorm(channels)


def check_labels(conditional: str, classes: int) -> None:
    """Check how labels enter D, and that there are classes.

    Raises:
        ConfigError: an unknown name, or a conditional D without classes.
    """
    if conditional not in CONDITIONAL:
        raise ConfigError(
            f"conditional = {conditional!r}: expected one of {', '.join(CONDITIONAL)}"
        )
    if conditional != "none" and classes < 1:
        raise ConfigError(
            f"conditional = {conditional!r} needs at least 1 class, got {classes}; choose "
            'labeled data, or set conditional = "none"'
        )


def head(
    psi: Module,
    features: int,
    regularizer: Method,
    rng: np.random.Generator,
    conditional: str,
    classes: int,
) -> Module:
    """Build the end of D, from features to scores, with labels if they enter at the end.

    Args:
        psi: module from features [N, d] to [N, 1], the end of D without labels.
        features: d.
        regularizer: the method of D, also for the weights of the labels.
        rng: random generator of these weights.
        conditional: one of :data:`CONDITIONAL`.
        classes: number of classes.
    """
    scheme, init = regularizer.reparametrize, regularizer.init
    if conditional == "projection":
        return Projection(psi, Embedding(classes, features, rng, scheme, init))
    if conditional == "auxiliary":
        return Auxiliary(psi, Linear(features, classes, rng, reparametrize=scheme, init=init))
    return psi
