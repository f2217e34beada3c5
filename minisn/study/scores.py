"""Scores of a generator by the feature networks that ship; other samples are saved to a file."""

from pathlib import Path
from typing import Any

import numpy as np

from ..data import unscale_images
from ..files import StrPath, replacing
from ..metrics import NETWORKS, extractor_for, frechet_distance, inception_score
from ..training import Trainer

SAMPLES, REFERENCE = 2000, 5000
"""Numbers of samples and of real reference images."""

SAMPLES_FILE = "samples.npy"


def scores(
    trainer: Trainer, images: np.ndarray, folder: StrPath, samples: int = SAMPLES
) -> dict[str, Any]:
    """Score samples by the feature network for their shape; save them if none ships.

    Args:
        trainer: the trainer; its generator draws samples from a fixed set of latent vectors.
        images: training images, uint8, [N, C, H, W].
        folder: folder for ``samples.npy``, uint8, [samples, C, H, W], if no feature network ships.
        samples: number of samples.
    Returns:
        ``inception`` and ``inception_real``, the scores of the samples and of the first 5,000
        training images; ``frechet``, the distance between the two. Empty without a network.

    Source: [M18 App. B.1], [M18 Eq. (24)]
    Deviation: here 2,000 samples are scored once, against the first 5,000 training images. M18
    scores 5,000 samples ten times, and computes the distance between 5,000 samples and 10,000
    images. L21's code scores 50,000 samples in ten parts, and computes the distance between 10,000
    samples and 5,000 random training images.
    """
    folder = Path(folder)
    z = np.random.default_rng(1).standard_normal((samples, trainer.config.latent), np.float32)
    drawn = unscale_images(trainer.sample(z))
    if images.shape[1:] not in NETWORKS:
        with replacing(folder / SAMPLES_FILE) as file:
            np.save(file, drawn)
        return {}
    extractor = extractor_for(images.shape[1:])
    features, p = extractor(drawn, "samples")
    real, p_real = extractor(images[:REFERENCE], "training images")
    return {
        "inception": inception_score(p, splits=1).value,
        "inception_real": inception_score(p_real, splits=1).value,
        "frechet": frechet_distance(features, real).value,
    }
