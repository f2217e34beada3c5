"""All measures of one set of images at once."""

import numpy as np

from .extractor import Extractor
from .frechet import frechet_distance
from .inception import inception_score
from .kernel import kernel_distance
from .neighbors import precision_recall
from .results import Sample, Score
from .similarity import intra_class_similarity

_SUBSETS, _SIZE = 50, 1000


def measure_features(images: Sample, reference: Sample, rng: np.random.Generator) -> list[Score]:
    """Compute the measures of features alone: both distances, precision and recall.

    Args:
        images, reference: features, [N, d] and [M, d], of one extractor.
        rng: generator of the kernel distance's 50 subsets, of at most 1,000 images.
    Returns:
        Fréchet distance, kernel distance, precision, recall.

    Source: [M18 App. B.1]
    """
    size = min(_SIZE, len(images), len(reference))
    return [
        frechet_distance(images, reference),
        kernel_distance(images, reference, rng, _SUBSETS, size),
        *precision_recall(images, reference),
    ]


def measure_images(
    extractor: Extractor,
    images: np.ndarray,
    source: str,
    reference: Sample,
    rng: np.random.Generator,
) -> list[Score]:
    """Compute every measure of images, with classes from the extractor.

    Args:
        extractor: the feature network.
        images: pixels 0 to 255, uint8, [N, C, H, W].
        source: a description of the images.
        reference: features of real images, from the same extractor.
        rng: generator of subsets and pairs.
    Returns:
        Inception-style score, the scores of :func:`measure_features`, MS-SSIM within a class.

    Source: [M18 App. B.1], [M18 §4.2]
    """
    features, p = extractor(images, source)
    pixels = Sample(images, source, extractor.name, extractor.digest)
    return [
        inception_score(p, splits=1),
        *measure_features(features, reference, rng),
        intra_class_similarity(pixels, p.values.argmax(1), p.values.shape[1], rng),
    ]
