"""The formula of the inception score, for the class probabilities of any network."""

import numpy as np
from scipy.special import rel_entr

from ..errors import ConfigError, ShapeError
from .results import Sample, Score, score


def inception_score(probabilities: Sample, splits: int = 10) -> Score:
    r"""Score images by the certainty of a classifier and by the variety of its classes.

    .. math:: \exp\Big(E_x\big[KL\big(p(y|x)\,\|\,p(y)\big)\big]\Big), \qquad p(y) = E_x[p(y|x)]

    The score is 1 if the classifier gives every image the same probabilities. It equals the number
    of classes if the classifier is certain of each image and finds all classes equally often. It is
    the *Inception* score only with the probabilities of the Inception network.

    Args:
        probabilities: p(y|x), [N, classes], each row summing to 1.
        splits: number of parts, in order and of nearly equal size, with a score each.
    Returns:
        Mean and standard deviation over the splits; larger is better.
    Raises:
        ShapeError: the rows are not probabilities.
        ConfigError: fewer images than splits.

    Source: [M18 App. B.1]; Salimans et al. (2016)
    """
    p = probabilities.values.astype(np.float64)
    if p.ndim != 2 or p.min() < 0 or not np.allclose(p.sum(1), 1, atol=1e-5):
        raise ShapeError(
            f"inception_score: values of {probabilities.source}, shape {list(p.shape)}, are not "
            "probabilities [N, classes]; expected values of at least 0 and rows that sum to 1; "
            "apply a softmax to logits"
        )
    if not 1 <= splits <= len(p):
        raise ConfigError(
            f"inception_score: {splits} splits of {len(p)} images; expected from 1 "
            f"to {len(p)} splits"
        )
    values = [
        np.exp(rel_entr(part, part.mean(0)).sum(1).mean()) for part in np.array_split(p, splits)
    ]
    parts = "1 split" if splits == 1 else f"{splits} splits"
    return score(f"inception-style score, {parts}", values, probabilities)
