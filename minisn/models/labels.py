"""How labels enter the networks: G by normalization, D by one of three ways.

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
"""The ways by which D knows of labels, by name."""


class Labelled(Module):
    """A part of a network that is given the labels of its batch, where there are any."""


class Chain(Sequential, Labelled):
    """Modules applied one after another; those that take labels are given them."""

    def forward(self, x: Tensor, *labels: Tensor) -> Any:
        """Apply all to a batch of N, with its labels, integers [N], if the network has them.

        Raises:
            ShapeError: there is not one label for each item.
        """
        if labels and labels[0].shape != x.shape[:1]:
            raise ShapeError(
                f"expected {len(x)} labels, one for each item of the batch, got shape "
                f"{labels[0].shape}"
            )
        labels = tuple(labels_of("Chain", each, x.array) for each in labels)

        def call(layer: Module, x: Tensor) -> Any:
            takes = isinstance(layer, Labelled | ConditionalBatchNorm)
            return layer(x, *labels) if takes else layer(x)

        return self.apply(x, call)


class Join(Labelled):
    r"""Give every pixel the embedding of its image's label as further channels.

    .. math:: y_n = [\,h_n,\; E_{c_n}\,]

    Args:
        embedding: E, of the labels.

    Source: [M18 Table 6]
    """

    def __init__(self, embedding: Embedding):
        super().__init__()
        self.embedding = embedding

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Apply to images [N, C, H, W]."""
        e = self.embedding(labels)
        n, size = e.shape
        pixels = broadcast_to(e.reshape(n, size, 1, 1), shape=(n, size, *x.shape[2:]))
        return ops.concat([x, pixels], axis=1)


class Projection(Labelled):
    r"""Score features by themselves and by their inner product with the label's vector.

    .. math:: D(x, y) = y^T V \phi(x) + \psi(\phi(x))

    with y as a one-hot vector, so that :math:`y^T V` is a row of V.

    Args:
        psi: from features [N, d] to [N, 1].
        V: an embedding of the labels, [classes, d].

    Source: Miyato and Koyama (2018)
    """

    def __init__(self, psi: Module, V: Embedding):
        super().__init__()
        self.psi, self.V = psi, V

    def forward(self, phi: Tensor, labels: Tensor | None = None) -> Tensor:
        """Apply to features [N, d], giving scores [N, 1]."""
        return ops.sum(self.V(labels) * phi, axis=1, keepdims=True) + self.psi(phi)


class Auxiliary(Module):
    r"""Score features, and guess the label from them: AC-GAN.

    .. math:: D(x) = \psi(\phi(x)), \qquad
              \log p(c\,|\,x) = l_c - \log \textstyle\sum_j e^{l_j}, \quad l = C\phi(x) + b

    Args:
        psi: from features [N, d] to [N, 1].
        classifier: from features to l, [N, classes].

    Source: [M18 Table 8]; Odena et al. (2017)
    """

    def __init__(self, psi: Module, classifier: Linear):
        super().__init__()
        self.psi, self.classifier = psi, classifier

    def forward(self, phi: Tensor) -> tuple[Tensor, Tensor]:
        """Apply to features [N, d], giving scores [N, 1] and the logits l."""
        return self.psi(phi), self.classifier(phi)


def batch_norm(channels: int, classes: int) -> BatchNorm:
    """Return the batch normalization of G: that of each class where there are any."""
    return ConditionalBatchNorm(channels, classes) if classes else BatchNorm(channels)


def check_labels(conditional: str, classes: int) -> None:
    """Refuse a way that is not known, or that has no labels to work with.

    Raises:
        ConfigError: one or the other.
    """
    if conditional not in CONDITIONAL:
        raise ConfigError(
            f"conditional = {conditional!r}: expected one of {', '.join(CONDITIONAL)}"
        )
    if conditional != "none" and classes < 1:
        raise ConfigError(
            f"conditional = {conditional!r} needs at least 1 class, got {classes}; choose "
            'labelled data, or set conditional = "none"'
        )


def head(
    psi: Module,
    features: int,
    regularizer: Method,
    rng: np.random.Generator,
    conditional: str,
    classes: int,
) -> Module:
    """Return the end of D: from features to scores, with labels where they enter here.

    Args:
        psi: from features [N, d] to [N, 1]: all there is without labels.
        features: d.
        regularizer: of D; it makes the weights for the labels too.
        rng: draws them.
        conditional: one of :data:`CONDITIONAL`.
        classes: how many labels there are.
    """
    scheme, init = regularizer.reparametrize, regularizer.init
    if conditional == "projection":
        return Projection(psi, Embedding(classes, features, rng, scheme, init))
    if conditional == "auxiliary":
        return Auxiliary(psi, Linear(features, classes, rng, reparametrize=scheme, init=init))
    return psi
