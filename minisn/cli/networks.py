"""The networks of a run, from its last checkpoint, and the norms of its D."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import runs
from ..checkpoint import Checkpoint, load
from ..data.catalog import find_entry
from ..instruments import estimates, layer_norms, spectra, stable_rank
from ..nn import Conv2d, Module, weighted_layers
from ..spectral import norm_bound
from ..tensor import Tensor, no_grad
from ..training import draw as draw_images
from ..training import networks


def read_checkpoint(run: Path) -> Checkpoint:
    """Read the last checkpoint of a run.

    Raises:
        ConfigError: the folder holds no run.
        CheckpointError: the run has no checkpoint, or a damaged one.
    """
    runs.read_config(run)  # raises ConfigError if the folder holds no run
    return load(run / runs.CHECKPOINT)


def channels_and_classes(checkpoint: Checkpoint) -> tuple[int, int]:
    """Return the number of channels of a run's images, and of labels that its networks know."""
    config, images = checkpoint.config, checkpoint.images
    if images:
        return images.channels, images.classes
    entry = find_entry(config.data)  # an older minisn trained on data sets of the catalog only
    return entry.shape[0], len(entry.classes) if config.conditional != "none" else 0


def _build(checkpoint: Checkpoint) -> tuple[Module, Module, int]:
    """Build G and D of a run; also return their number of classes."""
    channels, classes = channels_and_classes(checkpoint)
    return *networks(checkpoint.config, channels, classes, np.random.default_rng(0)), classes


def draw(checkpoint: Checkpoint, count: int, seed: int) -> np.ndarray:
    """Draw images with the averaged generator, or G itself if there is no average.

    Args:
        checkpoint: checkpoint of a run.
        count: number of images.
        seed: seed of the latent vectors; a conditional model draws each class in turn.
    Returns:
        Images, float32, in (-1, 1), [count, C, size, size].
    """
    G, _, classes = _build(checkpoint)
    G.load_state_dict(checkpoint.part("average") or checkpoint.part("G"))
    shape = (count, checkpoint.config.latent)
    inputs: list[np.ndarray] = [np.random.default_rng(seed).standard_normal(shape, np.float32)]
    inputs += [np.arange(count) % classes] if classes else []
    return draw_images(G, *inputs)


def discriminator(checkpoint: Checkpoint) -> Module:
    """Build the discriminator as the checkpoint holds it."""
    _, D, _ = _build(checkpoint)
    D.load_state_dict(checkpoint.part("D"))
    return D


@dataclass(frozen=True)
class Row:
    """The norms of one layer, of the normalized weight except for ``sigma``.

    Args:
        kind: class of the layer.
        shape: shape of its weight.
        sigma: estimate of the norm of the weight W; None if the scheme keeps no estimate.
        norm: largest singular value, as a matrix.
        proved: proved upper bound on ``norm``.
        stable_rank: see :func:`minisn.instruments.stable_rank`.
        operator: norm as a map between images; ``proved`` for a dense layer.
    """

    kind: str
    shape: tuple[int, ...]
    sigma: float | None
    norm: float
    proved: float
    stable_rank: float
    operator: float

    def __str__(self) -> str:
        sigma = "-" if self.sigma is None else f"{self.sigma:.4f}"
        text = (
            f"{self.kind:10}{' x '.join(map(str, self.shape)):17}{sigma:>9}{self.norm:13.5f}"
            f"{self.proved:9.5f}{self.stable_rank:13.1f}"
        )
        if len(self.shape) < 4 or not self.norm:
            return text + f"{'-':>9}{'-':>7}"
        return text + f"{self.operator:9.4f}{self.operator / self.norm:7.2f}"


def measure(checkpoint: Checkpoint) -> list[Row]:
    """Measure every layer of D; one image shows the input size of each convolution."""
    D, config = discriminator(checkpoint).eval(), checkpoint.config
    channels, _ = channels_and_classes(checkpoint)
    image = np.zeros((1, channels, config.size, config.size), np.float32)
    labels = [Tensor.wrap(np.zeros(1, int))] * (config.conditional in ("concat", "projection"))
    norms = layer_norms(D, Tensor.wrap(image), *labels)
    values, sigmas, rows = spectra(D), estimates(D), []
    for name, layer in weighted_layers(D).items():
        with no_grad():
            proved = norm_bound(layer.effective_weight(), layer.axis)
        rows.append(
            Row(
                kind=type(layer).__name__,
                shape=layer.shape,
                sigma=sigmas.get(name),
                norm=float(values[name][0]),
                proved=proved,
                stable_rank=stable_rank(values[name]),
                operator=norms[name].operator if isinstance(layer, Conv2d) else proved,
            )
        )
    return rows
