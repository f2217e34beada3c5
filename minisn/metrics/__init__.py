"""Measures of generators; every score records its provenance.

``inception`` the score of M18's tables · ``frechet`` the Fréchet distance (24) · ``kernel``,
``neighbors`` and ``similarity`` later measures · ``networks`` the feature networks that ship,
``extractor`` their features, ``train_features`` the command that trained them · ``measure`` all
measures at once · ``results`` samples and scores.

All measures compute on the host with NumPy and SciPy, in double precision.
"""

from .extractor import Extractor, accuracy, extractor_for
from .frechet import frechet_distance, gaussian_frechet
from .inception import inception_score
from .kernel import cubic_kernel, kernel_distance, mmd2
from .measure import measure_features, measure_images
from .neighbors import precision_recall
from .networks import NETWORKS
from .results import Provenance, Sample, Score, check_alike, repeated
from .similarity import intra_class_similarity, ms_ssim, scales_for

__all__ = [
    "NETWORKS",
    "Extractor",
    "Provenance",
    "Sample",
    "Score",
    "accuracy",
    "check_alike",
    "cubic_kernel",
    "extractor_for",
    "frechet_distance",
    "gaussian_frechet",
    "inception_score",
    "intra_class_similarity",
    "kernel_distance",
    "measure_features",
    "measure_images",
    "mmd2",
    "ms_ssim",
    "precision_recall",
    "repeated",
    "scales_for",
]
