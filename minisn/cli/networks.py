"""The networks of a run, as its last checkpoint holds them, and what is measured of D."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import runs
from ..checkpoint import Checkpoint, load
from ..data.catalog import find_entry
from ..instruments import LayerNorms, layer_norms
from ..nn import Conv2d, Module, Weighted, weighted_layers
from ..spectral import norm_bound, singular_values
from ..tensor import Tensor, no_grad
from ..training import draw as draw_images
from ..training import networks


def read_checkpoint(run: Path) -> Checkpoint:
    """Read the last checkpoint of a run.

    Raises:
        ConfigError: there is no run in the folder.
        CheckpointError: it has no checkpoint, or a damaged one.
    """
    runs.read_config(run)  # says it where the folder is no run
    return load(run / runs.CHECKPOINT)


def channels_and_classes(checkpoint: Checkpoint) -> tuple[int, int]:
    """Tell the channels of a run's images, and how many labels its networks know."""
    config, images = checkpoint.config, checkpoint.images
    if images:
        return images.channels, images.classes
    entry = find_entry(config.data)  # of an older minisn, which trained on these alone
    return entry.shape[0], len(entry.classes) if config.conditional != "none" else 0


def _build(checkpoint: Checkpoint) -> tuple[Module, Module, int]:
    """Build G and D of a run; also tell how many classes they know."""
    channels, classes = channels_and_classes(checkpoint)
    return *networks(checkpoint.config, channels, classes, np.random.default_rng(0)), classes


def draw(checkpoint: Checkpoint, count: int, seed: int) -> np.ndarray:
    """Draw images with the averaged generator, or G itself if there is no average.

    Args:
        checkpoint: of a run.
        count: how many images.
        seed: of the latent vectors; a conditional model draws each class in turn.
    Returns:
        float32 in (-1, 1), [count, C, size, size].
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
    """What is known of one layer; norms are those of the normalized weight, but for sigma.

    Args:
        kind: class of the layer.
        shape: of its weight.
        sigma: the estimate of the weight's norm; None where the scheme keeps none.
        norm: largest singular value, as a matrix.
        proved: what that does not exceed.
        stable_rank: sum of the squared singular values over the largest.
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
    """Measure every layer of D; a run over one image tells the size that each convolution sees."""
    D, config = discriminator(checkpoint).eval(), checkpoint.config
    channels, _ = channels_and_classes(checkpoint)
    image = np.zeros((1, channels, config.size, config.size), np.float32)
    labels = [Tensor.wrap(np.zeros(1, int))] * (config.conditional in ("concat", "projection"))
    norms = layer_norms(D, Tensor.wrap(image), *labels)
    with no_grad():
        return [_row(layer, norms.get(name)) for name, layer in weighted_layers(D).items()]


def _row(layer: Weighted, norms: LayerNorms | None) -> Row:
    used = layer.effective_weight().array.astype(np.float64)
    values = singular_values(used, layer.axis)
    largest, proved = float(values[0]), norm_bound(used, layer.axis)
    estimate = layer.reparametrize.estimate(layer.learned, layer.axis, layer.state)
    return Row(
        kind=type(layer).__name__,
        shape=layer.shape,
        sigma=None if estimate is None else float(estimate),
        norm=largest,
        proved=proved,
        stable_rank=float((values**2).sum()) / largest**2 if largest else 0.0,
        operator=norms.operator if norms and isinstance(layer, Conv2d) else proved,
    )
