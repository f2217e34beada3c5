"""Scores of a generator by the features that ship; other images are kept to be scored elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np

from ..data import unscale_images
from ..files import StrPath, replacing
from ..metrics import NETWORKS, extractor_for, frechet_distance, inception_score
from ..training import Trainer

SAMPLES, REFERENCE = 2000, 5000
"""Samples that are judged, and real images that they are compared with."""

SAMPLES_FILE = "samples.npy"


def scores(
    trainer: Trainer, images: np.ndarray, folder: StrPath, samples: int = SAMPLES
) -> dict[str, Any]:
    """Score samples by the feature network for their shape, or keep them where none ships.

    Args:
        trainer: as it stands; samples are drawn as always, from latent vectors of their own.
        images: that it is trained on, uint8 [N, C, H, W].
        folder: where ``samples.npy`` goes, uint8 [samples, C, H, W], if there are no features.
        samples: how many are drawn.
    Returns:
        ``inception`` and ``inception_real``, the score of samples and of as many real images;
        ``frechet``, the distance of the samples to 5,000 real ones. Empty without features.

    Source: [M18 App. B.1], [M18 Eq. (24)]
    Deviation: 2,000 samples, at once, against the first 5,000 training images. M18 scores 5,000
    samples ten times, and takes the distance of 5,000 to 10,000 images; L21's code scores 50,000
    in ten parts, and takes the distance of 10,000 to 5,000 training images at random.
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
