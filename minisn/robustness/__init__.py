"""Spectral normalization beyond GANs: other uses of a network with a bounded Lipschitz constant.

``classifier`` a small image classifier, its training, and its accuracy under noise ·
``certificate`` a proved distance within which no change of an image changes its class ·
``attack`` the search for a small change that does · ``recurrence`` gradients through a long
sequence. Everything runs on the host, on NumPy arrays; measurements are plain numbers.
"""

from .attack import attack
from .certificate import (
    CertifiedAccuracy,
    certified_accuracy,
    certified_radius,
    conv_norm_bound,
    network_bound,
)
from .classifier import NoiseAccuracy, accuracy, classifier, noise_accuracy, train_classifier
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
