"""Train a feature network: ``python -m minisn.metrics.train_features DATA FILE``.

DATA is ``mnist-10k`` (two minutes on one core) or ``cifar10`` (twenty minutes). On one machine with
a fixed number of threads, equal seeds give equal bits. This command trained the networks that ship,
with seed 0, and printed their accuracy on held-out images.
"""

import argparse
import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save as to_bytes
from scipy.ndimage import affine_transform

from .. import kernels
from ..data import BatchStream, Dataset, load, scale_images
from ..errors import MinisnError
from ..losses import cross_entropy
from ..nn import BatchNorm, Conv2d, Module, Sequential
from ..optim import Adam
from ..tensor import Tensor, grad, no_grad
from .extractor import Extractor, accuracy
from .networks import NETWORKS, FeatureNetwork, color_network, digits_network

TURN, SHIFT = 12.0, 2.0
"""Largest rotation of a digit, degrees, and largest shift, pixels."""

MARGIN = 4
"""Largest shift of a photograph, pixels."""

HELD_OUT = 1000
"""Number of digits in the test set."""


@dataclass(frozen=True)
class Recipe:
    """The settings for training a feature network.

    Args:
        network: the network to train.
        build: builds the network in its training form; batch normalization is folded afterwards.
        move: random augmentation of a batch, uint8 [N, C, H, W].
        epochs: number of passes over the images.
        batch: images per batch.
        rate: initial step size of Adam, which decays linearly to 0.
    """

    network: FeatureNetwork
    build: Callable[[np.random.Generator], Sequential]
    move: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    epochs: int
    batch: int
    rate: float


def turn_and_shift(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rotate each image about its center, and shift it, uint8, [N, 1, H, W]."""
    return np.stack([_moved(image, rng) for image in images[:, 0]])[:, None]


def _moved(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angle = np.deg2rad(rng.uniform(-TURN, TURN))
    c, s = np.cos(angle), np.sin(angle)
    matrix, middle = np.array([[c, -s], [s, c]]), (np.array(image.shape) - 1) / 2
    offset = middle - matrix @ middle + rng.uniform(-SHIFT, SHIFT, 2)
    return affine_transform(image, matrix, offset, order=1)


def flip_and_shift(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flip each image left to right with probability 1/2, and shift it, uint8, [N, C, H, W].

    Pixels that enter at an edge are a reflection of the image.
    """
    margins = ((0, 0), (0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))
    padded = np.pad(images, margins, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, images.shape[2:], axis=(2, 3))
    rows, columns = rng.integers(0, 2 * MARGIN + 1, (2, len(images)))
    moved = windows[np.arange(len(images)), :, rows, columns]
    mirrored = rng.random(len(images)) < 0.5
    moved[mirrored] = moved[mirrored, ..., ::-1]
    return moved


RECIPES = {
    "mnist-10k": Recipe(NETWORKS[1, 28, 28], digits_network, turn_and_shift, 30, 50, 1e-3),
    "cifar10": Recipe(NETWORKS[3, 32, 32], lambda rng: color_network(rng, normalized=True),
                      flip_and_shift, 12, 100, 2e-3),
}  # fmt: skip
"""The settings for training the networks that ship, by the name of the data set."""


def train(
    recipe: Recipe, images: np.ndarray, labels: np.ndarray, epochs: int | None = None, seed: int = 0
) -> Sequential:
    """Train a feature network on randomly augmented images.

    Args:
        recipe: the settings.
        images: uint8, [N, C, H, W].
        labels: integers, [N].
        epochs: number of passes over the images; None for the recipe's number.
        seed: seed of weights, order and augmentation.
    Returns:
        The network, with weights rounded to half precision, as in its file.
    """
    rng = np.random.default_rng(seed)
    network = recipe.build(rng)
    adam = Adam(network.parameters(), recipe.rate, 0.9, 0.999)
    stream, per_epoch = BatchStream(images, recipe.batch, seed), len(images) // recipe.batch
    steps = (recipe.epochs if epochs is None else epochs) * per_epoch
    with kernels.one_pool():
        for step in range(steps):
            rows = stream.next_indices()
            x = Tensor.wrap(scale_images(recipe.move(images[rows], rng)))
            loss = cross_entropy(network(x), Tensor.wrap(labels[rows]))
            adam.rate = recipe.rate * (1 - step / steps)
            adam.step(grad(loss, network.parameters()))
            epoch, rest = divmod(step + 1, per_epoch)
            if not rest:
                print(f"epoch {epoch}: loss {float(loss):.3f}", file=sys.stderr, flush=True)
    network = fold(network)
    _level(network, scale_images(images[:1000]))
    network.load_state_dict(_half(network))
    return network


def fold(network: Sequential) -> Sequential:
    r"""Fold batch normalization, in evaluation mode, into the convolution before it.

    .. math:: \gamma\,\frac{Wx - \mu}{\sqrt{v + \epsilon}} + \beta = W'x + b', \qquad
              W' = \frac{\gamma}{\sqrt{v + \epsilon}}\,W, \quad
              b' = \beta - \frac{\gamma\,\mu}{\sqrt{v + \epsilon}}

    Args:
        network: a network in which every batch normalization follows a convolution without bias.
    Returns:
        The network without batch normalization; the convolutions are changed in place.
    """
    layers: list[Module] = []
    for layer in network.layers:
        if isinstance(layer, BatchNorm):
            _absorb(layers[-1], layer)
        else:
            layers.append(layer)
    return Sequential(*layers).eval()


def _absorb(convolution: Module, norm: BatchNorm) -> None:
    assert isinstance(convolution, Conv2d) and norm.gamma is not None
    gain = norm.gamma.array / np.sqrt(norm.state["running_var"] + norm.eps)
    shift = norm.beta.array - gain * norm.state["running_mean"]
    convolution.weight.assign(gain[:, None, None, None] * convolution.weight.array)
    convolution.bias = Tensor(shift, requires_grad=True)


def _level(network: Sequential, x: np.ndarray) -> None:
    """Scale features to mean square 1; the logits stay the same, as leaky ReLU is homogeneous.

    The cubic kernel of the kernel distance depends on the scale of features.
    """
    *_, weight, bias, head, _ = network.parameters()
    with no_grad():
        h = Sequential(*network.layers[:-1])(Tensor.wrap(x))
    factor = float(np.sqrt((h.array**2).mean()))
    for p, c in ((weight, factor), (bias, factor), (head, 1 / factor)):
        p.assign(p.array / np.float32(c))


def _half(network: Sequential) -> dict[str, np.ndarray]:
    return {name: np.asarray(a, np.float16) for name, a in network.state_dict().items()}


def held_out(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Split the shipped digits into a training set and a test set.

    Args:
        data: ``load("mnist-10k")``.
    Returns:
        Row numbers, [N - 1000] and [1000], the same at every call.
    """
    order = np.random.default_rng(0).permutation(len(data.images))
    return order[:-HELD_OUT], order[-HELD_OUT:]


def _read(name: str, data_dir: Path | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return images and labels of the training set and of the test set."""
    data = load(name, data_dir)
    if name == "mnist-10k":
        return [(data.images[rows], data.labels[rows]) for rows in held_out(data)]
    test = load(name, data_dir, "test")
    return [(data.images, data.labels), (test.images, test.labels)]


def write(name: str, path: Path, data_dir: Path | None = None, epochs: int | None = None) -> None:
    """Train a feature network, write its file, and print its accuracy on held-out images.

    Args:
        name: name of the data set, a key of :data:`RECIPES`.
        path: path of the file; its folder is created if necessary.
        data_dir: folder of the complete data sets.
        epochs: number of passes over the images; None for the recipe's number.
    Raises:
        DataError: the data are missing.
    """
    recipe, (seen, unseen) = RECIPES[name], _read(name, data_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    network = train(recipe, *seen, epochs)
    raw = to_bytes(_half(network))
    path.write_bytes(raw)
    digest = hashlib.sha256(raw).hexdigest()
    _, p = Extractor(recipe.network, network, digest)(unseen[0], "held out")
    print(
        f"{path}: {len(raw):,} bytes, SHA-256 {digest}\n"
        f"accuracy on {len(unseen[0]):,} held-out images: "
        f"{accuracy(p.values, unseen[1]):.2%}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return the exit status.

    Args:
        argv: the arguments of the command; None for the arguments of this process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m minisn.metrics.train_features",
        description="Train one of the feature networks that ship with minisn.",
    )
    parser.add_argument("data", choices=RECIPES, help="data set to train on")
    parser.add_argument("file", type=Path, metavar="FILE.safetensors", help="file to write")
    parser.add_argument(
        "--data-dir", type=Path, metavar="FOLDER", help="folder of the complete data sets"
    )
    args = parser.parse_args(argv)
    try:
        write(args.data, args.file, args.data_dir)
    except (MinisnError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
