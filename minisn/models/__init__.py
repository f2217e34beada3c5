"""The paper's networks, at any width.

``cnn`` Table 3 · ``resnet`` Tables 4 to 6 · ``labels`` conditional networks.
"""

from collections.abc import Callable

from ..nn import Module
from .cnn import GAMMAS, PAPER_WIDTH, cnn_discriminator, cnn_generator
from .labels import CONDITIONAL
from .resnet import TABLES, resnet_discriminator, resnet_generator

MODELS: dict[str, tuple[Callable[..., Module], Callable[..., Module]]] = {
    "cnn": (cnn_generator, cnn_discriminator),
    "resnet": (resnet_generator, resnet_discriminator),
}
"""Generator and discriminator of each model, by name."""

__all__ = [
    "CONDITIONAL",
    "GAMMAS",
    "MODELS",
    "PAPER_WIDTH",
    "TABLES",
    "cnn_discriminator",
    "cnn_generator",
    "resnet_discriminator",
    "resnet_generator",
]
