"""The networks of a run, as its last checkpoint holds them, and what is measured of D."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import runs
from ..checkpoint import Checkpoint, load
from ..conv import output_size, pair
from ..data import list_datasets
from ..models import cnn_discriminator, cnn_generator
from ..nn import Conv2d, Sequential, Weighted
from ..regularizers import SpectralNorm
from ..spectral import certificate, conv_operator_norm, singular_values
from ..tensor import Tensor, no_grad


def read_checkpoint(run: Path) -> Checkpoint:
    """Read the last checkpoint of a run.

    Raises:
        ConfigError: there is no run in the folder.
        CheckpointError: it has no checkpoint, or a damaged one.
    """
    runs.read_config(run)  # says it where the folder is no run
    return load(run / runs.CHECKPOINT)


def _channels(checkpoint: Checkpoint) -> int:
    return next(entry.shape[0] for entry in list_datasets() if entry.name == checkpoint.config.data)


def draw(checkpoint: Checkpoint, count: int, seed: int) -> np.ndarray:
    """Draw images with the averaged generator, or G itself if there is no average.

    Args:
        checkpoint: of a run.
        count: how many images.
        seed: of the latent vectors.
    Returns:
        float32 in (-1, 1), [count, C, size, size].
    """
    config = checkpoint.config
    G = cnn_generator(config.size, _channels(checkpoint), np.random.default_rng(0), config.width,
                      config.latent)  # fmt: skip
    G.load_state_dict(checkpoint.part("average") or checkpoint.part("G"))
    G.eval()
    z = np.random.default_rng(seed).standard_normal((count, config.latent), np.float32)
    with no_grad():
        parts = [G(Tensor.wrap(z[k : k + 256])).array for k in range(0, count, 256)]
    return np.concatenate(parts)


def discriminator(checkpoint: Checkpoint) -> Sequential:
    """Build the discriminator as the checkpoint holds it."""
    config = checkpoint.config
    D = cnn_discriminator(config.size, _channels(checkpoint), np.random.default_rng(0),
                          config.width, SpectralNorm(config.scale))  # fmt: skip
    D.load_state_dict(checkpoint.part("D"))
    return D


@dataclass(frozen=True)
class Row:
    """What is known of one layer; norms are those of the normalized weight, but for sigma.

    Args:
        kind: class of the layer.
        shape: of its weight.
        sigma: the estimate that the weight is divided by.
        norm: largest singular value, as a matrix.
        proved: what that does not exceed.
        stable_rank: sum of the squared singular values over the largest.
        operator: norm as a map between images; ``proved`` for a dense layer.
    """

    kind: str
    shape: tuple[int, ...]
    sigma: float
    norm: float
    proved: float
    stable_rank: float
    operator: float

    def __str__(self) -> str:
        text = (
            f"{self.kind:9}{' x '.join(map(str, self.shape)):17}{self.sigma:9.4f}{self.norm:13.5f}"
            f"{self.proved:9.5f}{self.stable_rank:13.1f}"
        )
        if len(self.shape) < 4 or not self.norm:
            return text + f"{'-':>9}{'-':>7}"
        return text + f"{self.operator:9.4f}{self.operator / self.norm:7.2f}"


def measure(checkpoint: Checkpoint) -> list[Row]:
    """Measure every layer of D; the size of the images is followed through its convolutions."""
    size, rows = (checkpoint.config.size, checkpoint.config.size), []
    for layer in discriminator(checkpoint).layers:
        if not isinstance(layer, Weighted):
            continue
        norm = None
        if isinstance(layer, Conv2d):
            norm = conv_operator_norm(layer.weight, size, layer.stride, layer.padding)
            padding, stride = (pair(name, getattr(layer, name)) for name in ("padding", "stride"))
            size = output_size("D", size, layer.weight.shape[2:], stride, padding)
        rows.append(_row(layer, checkpoint.config.scale, norm))
    return rows


def _row(layer: Weighted, scale: float, operator: float | None) -> Row:
    known = certificate(layer.weight, layer.state["u"], layer.state["v"], layer.axis)
    values = singular_values(layer.weight.array.astype(np.float64), layer.axis)
    factor = scale / known.sigma if known.sigma else 0.0
    largest = float(values[0])
    return Row(
        kind=type(layer).__name__,
        shape=layer.weight.shape,
        sigma=known.sigma,
        norm=factor * largest,
        proved=factor * known.upper,
        stable_rank=float((values**2).sum()) / largest**2 if largest else 0.0,
        operator=factor * (known.upper if operator is None else operator),
    )
