"""Spectral normalization beyond GANs: what a bounded network is good for elsewhere.

``classifier`` a small image classifier, its training, and what noise does to it · ``certificate``
a distance within which no change of an image changes its class, proved · ``attack`` the search
for one beyond · ``recurrence`` gradients through a long sequence. Studies return plain numbers.
All of it runs on the host, on NumPy arrays.
"""

from .attack import attack
from .certificate import (
    CertifiedAccuracy,
    certified_accuracy,
    certified_radius,
    conv_norm_bound,
    network_bound,
)
from .classifier import (
    NoiseAccuracy,
    accuracy,
    classifier,
    noise_accuracy,
    train_classifier,
)
from .recurrence import (
    RecurrentGradients,
    RecurrentTraining,
    adding_problem,
    learn_adding,
    recurrent_gradients,
)

__all__ = [
    "CertifiedAccuracy",
    "NoiseAccuracy",
    "RecurrentGradients",
    "RecurrentTraining",
    "accuracy",
    "adding_problem",
    "attack",
    "certified_accuracy",
    "certified_radius",
    "classifier",
    "conv_norm_bound",
    "learn_adding",
    "network_bound",
    "noise_accuracy",
    "recurrent_gradients",
    "train_classifier",
]
