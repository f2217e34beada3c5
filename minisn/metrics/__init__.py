"""Measures of generators, each a number that knows where it comes from.

``inception`` the score of M18's tables · ``frechet`` its distance (24) · ``kernel``,
``neighbours`` and ``similarity`` what was proposed since · ``digits`` the feature network that
ships, ``train_features`` the command that made it · ``measure`` all at once · ``results`` what
all take and give.

All compute on the host with NumPy and SciPy, in double precision.
"""

from .digits import Extractor, accuracy, digits_extractor, held_out
from .frechet import frechet_distance, gaussian_frechet
from .inception import inception_score
from .kernel import cubic_kernel, kernel_distance, mmd2
from .measure import measure_digits, measure_features
from .neighbours import precision_recall
from .results import Provenance, Sample, Score, check_alike, repeated
from .similarity import intra_class_similarity, ms_ssim, scales_for

__all__ = [
    "Extractor",
    "Provenance",
    "Sample",
    "Score",
    "accuracy",
    "check_alike",
    "cubic_kernel",
    "digits_extractor",
    "frechet_distance",
    "gaussian_frechet",
    "held_out",
    "inception_score",
    "intra_class_similarity",
    "kernel_distance",
    "measure_digits",
    "measure_features",
    "mmd2",
    "ms_ssim",
    "precision_recall",
    "repeated",
    "scales_for",
]
