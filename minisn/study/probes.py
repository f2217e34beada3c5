"""Probes: the measurements of a study during training, as functions of the trainer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import instruments, runs
from ..backend import to_device, to_numpy
from ..data import scale_images
from ..health import spread
from ..losses import OBJECTIVES, slopes
from ..tensor import Tensor, no_grad
from ..training import Trainer
from .scores import scores

BATCH = 256
"""Number of images in the measurement of gradients and losses."""


@dataclass(frozen=True)
class Split:
    """The images of a cell.

    Args:
        images, labels: training images, uint8, [N, C, H, W], and their labels, integers, [N].
        held_out: held-out images, uint8, [M, C, H, W].
        folder: folder of the cell.
    """

    images: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    folder: Path


Probe = Callable[[Trainer, Split], dict[str, Any]]


def _scores(trainer: Trainer, split: Split) -> dict[str, Any]:
    """Score samples by the shipped features; see :func:`minisn.study.scores.scores`."""
    return scores(trainer, split.images, split.folder)


def _norms(trainer: Trainer, split: Split) -> dict[str, Any]:
    r"""Measure the norm of each normalized weight: ``norms``.

    .. math:: \sigma_1(\bar W^l)
    """
    return {"norms": [values[0] for values in _spectra(trainer, split)["spectra"]]}


def _spectra(trainer: Trainer, split: Split) -> dict[str, Any]:
    r"""Measure all singular values of each normalized weight, the largest first: ``spectra``.

    .. math:: \sigma_t(\bar W^l)
    """
    found = instruments.spectra(trainer.D).values()
    return {"spectra": [[float(s) for s in values] for values in found]}


def _variances(trainer: Trainer, split: Split) -> dict[str, Any]:
    r"""Measure fan-in and variance of each normalized weight: ``variances``.

    .. math:: \big(\mathrm{fan_{in}},\; \mathrm{Var}(\bar w_{ij})\big)
    """
    spreads = instruments.weight_variances(trainer.D).values()
    return {"variances": [[spread.fan_in, spread.variance] for spread in spreads]}


def _gradients(trainer: Trainer, split: Split) -> dict[str, Any]:
    r"""Measure gradients of D: ``weight_gradients`` by layer, ``input_gradients`` over images.

    .. math:: \|\nabla_{\bar W^l} D\|_F \text{ at the mean score}, \qquad
              \min, \text{mean}, \max_n \|\nabla_x D(x_n)\|_2
    """
    x = _batch(trainer, split.held_out)
    weights = instruments.weight_gradients(trainer.D, x)
    slopes = to_numpy(instruments.input_gradients(trainer.D, x))
    return {
        "weight_gradients": [float(g) for g in weights.values()],
        "input_gradients": [float(f(slopes)) for f in (np.min, np.mean, np.max)],
    }


def _critic(trainer: Trainer, split: Split) -> dict[str, Any]:
    """Measure the Wasserstein loss of D on training and on held-out images."""
    n = min(BATCH, len(split.held_out))
    z = np.random.default_rng(0).standard_normal((n, trainer.config.latent), np.float32)
    with no_grad():
        fake = float(trainer.D(_on(trainer, trainer.sample(z))).mean())
        real = {
            "critic_train": trainer.D(_batch(trainer, split.images)),
            "critic_held_out": trainer.D(_batch(trainer, split.held_out)),
        }
    return {name: fake - float(score.mean()) for name, score in real.items()}


def _balance(trainer: Trainer, split: Split) -> dict[str, Any]:
    """Measure the spread of samples and the slopes of D's loss.

    ``spread`` is the spread of a sample sheet, divided by that of as many images. ``slope_real``
    and ``slope_fake`` are :func:`minisn.losses.slopes`, which exist after the first update.
    """
    samples = trainer.sample(runs.sample_vectors(trainer.config))
    found = {"spread": spread(samples) / spread(scale_images(split.images[: len(samples)]))}
    if trainer.scores:
        objective = OBJECTIVES[trainer.config.objective]
        names = ("slope_real", "slope_fake")
        found |= dict(zip(names, slopes(objective, *trainer.scores), strict=True))
    return found


def _batch(trainer: Trainer, images: np.ndarray) -> Tensor:
    return _on(trainer, scale_images(images[:BATCH]))


def _on(trainer: Trainer, images: np.ndarray) -> Tensor:
    return Tensor.wrap(to_device(images, trainer.device))


PROBES: dict[str, Probe] = {
    "scores": _scores,
    "norms": _norms,
    "spectra": _spectra,
    "variances": _variances,
    "gradients": _gradients,
    "critic": _critic,
    "balance": _balance,
}
"""The probes by name."""
