"""Modules and layers.

``module`` names, saving, moving · ``reparametrization`` the interface of a scheme · ``layers``
layers with a weight · ``recurrent`` layers for sequences · ``normalization`` and ``activations``
layers without a weight.
"""

from .activations import Dropout, LeakyReLU, ReLU, Reshape, Scale, Tanh
from .layers import (
    Conv2d,
    ConvTranspose2d,
    Embedding,
    Linear,
    Weighted,
    power_step,
    weighted_layers,
)
from .module import Module, Sequential
from .normalization import BatchNorm, ConditionalBatchNorm, LayerNorm
from .recurrent import GRU, RNN, Recurrent
from .reparametrization import Learned, Reparametrization, State

__all__ = [
    "GRU",
    "RNN",
    "BatchNorm",
    "ConditionalBatchNorm",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Embedding",
    "LayerNorm",
    "LeakyReLU",
    "Learned",
    "Linear",
    "Module",
    "ReLU",
    "Recurrent",
    "Reparametrization",
    "Reshape",
    "Scale",
    "Sequential",
    "State",
    "Tanh",
    "Weighted",
    "power_step",
    "weighted_layers",
]
