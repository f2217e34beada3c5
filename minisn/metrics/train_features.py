"""Train a feature network: ``python -m minisn.metrics.train_features DATA FILE``.

DATA is ``mnist-10k`` or ``cifar10``: two minutes of one core, or twenty. Equal seeds give
equal bits on one machine with one number of threads. The networks that ship were made by it, with
seed 0; images that are held out tell how good one is.
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
from .networks import NETWORKS, FeatureNetwork, colour_network, digits_network

TURN, SHIFT = 12.0, 2.0
"""The most that a digit is turned, degrees, and moved, pixels."""

MARGIN = 4
"""The most that a photograph is moved, pixels."""

HELD_OUT = 1000
"""Digits to test with."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        network: what is trained.
        build: the form in which it is: batch normalization is folded away afterwards.
        move: changes a batch a little, uint8 [N, C, H, W], anew at every sight.
        epochs: how often each image is seen.
        batch: images.
        rate: Adam's step size at first; it falls to 0 in a straight line.
    """

    network: FeatureNetwork
    build: Callable[[np.random.Generator], Sequential]
    move: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    epochs: int
    batch: int
    rate: float


def turn_and_shift(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn and move each image about its middle, uint8, [N, 1, H, W]."""
    return np.stack([_moved(image, rng) for image in images[:, 0]])[:, None]


def _moved(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angle = np.deg2rad(rng.uniform(-TURN, TURN))
    c, s = np.cos(angle), np.sin(angle)
    matrix, middle = np.array([[c, -s], [s, c]]), (np.array(image.shape) - 1) / 2
    offset = middle - matrix @ middle + rng.uniform(-SHIFT, SHIFT, 2)
    return affine_transform(image, matrix, offset, order=1)


def flip_and_shift(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror every other image, left to right, and move each, uint8, [N, C, H, W].

    What a shift leaves bare, the image mirrored at its edge fills.
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
    "cifar10": Recipe(NETWORKS[3, 32, 32], lambda rng: colour_network(rng, normalized=True),
                      flip_and_shift, 12, 100, 2e-3),
}  # fmt: skip
"""How the networks that ship were trained, by the name of the data."""


def train(
    recipe: Recipe, images: np.ndarray, labels: np.ndarray, epochs: int | None = None, seed: int = 0
) -> Sequential:
    """Train a network on images that are changed a little, anew at every sight.

    Args:
        recipe: how.
        images: uint8, [N, C, H, W].
        labels: integers, [N].
        epochs: how often each image is seen; None for the recipe's number.
        seed: of weights, order and changes.
    Returns:
        The network, its numbers rounded to half precision, in which they are kept.
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
            if (step + 1) % per_epoch == 0:
                _tell((step + 1) // per_epoch, float(loss))
    network = fold(network)
    _level(network, scale_images(images[:1000]))
    network.load_state_dict(_half(network))
    return network


def _tell(epoch: int, loss: float) -> None:
    print(f"epoch {epoch}: loss {loss:.3f}", file=sys.stderr, flush=True)


def fold(network: Sequential) -> Sequential:
    r"""Take batch normalization, as it evaluates, into the convolution before it.

    .. math:: \gamma\,\frac{Wx - \mu}{\sqrt{v + \epsilon}} + \beta = W'x + b', \qquad
              W' = \frac{\gamma}{\sqrt{v + \epsilon}}\,W, \quad
              b' = \beta - \frac{\gamma\,\mu}{\sqrt{v + \epsilon}}

    Args:
        network: each of its batch normalizations follows a convolution without bias.
    Returns:
        A network of the same layers but those normalizations; the convolutions are changed.
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
    """Scale features to mean square 1, which changes no logit: leaky ReLU lets factors through.

    A kernel that is cubic would otherwise weigh what an arbitrary scale makes of it.
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
    """Split the shipped digits into those to train on and those to test with.

    Args:
        data: ``load("mnist-10k")``.
    Returns:
        Row numbers, [N - 1000] and [1000]; always the same.
    """
    order = np.random.default_rng(0).permutation(len(data.images))
    return order[:-HELD_OUT], order[-HELD_OUT:]


def _read(name: str, data_dir: Path | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return images and labels to train on, and those to test with."""
    data = load(name, data_dir)
    if name == "mnist-10k":
        return [(data.images[rows], data.labels[rows]) for rows in held_out(data)]
    test = load(name, data_dir, "test")
    return [(data.images, data.labels), (test.images, test.labels)]


def write(name: str, path: Path, data_dir: Path | None = None, epochs: int | None = None) -> None:
    """Train a network, tell how many of the images held out it gets right, and write its file.

    Args:
        name: of the data, a key of :data:`RECIPES`.
        path: of the file; its folder is made if need be.
        data_dir: where the files of complete data sets lie.
        epochs: how often each image is seen; None for the recipe's number.
    Raises:
        DataError: the data are not there.
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
        f"accuracy on {len(unseen[0]):,} images held out: "
        f"{accuracy(p.values, unseen[1]):.2%}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status.

    Args:
        argv: the command's arguments; None for those of this process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m minisn.metrics.train_features",
        description="Train one of the feature networks that ship with minisn.",
    )
    parser.add_argument("data", choices=RECIPES, help="what the network is to know")
    parser.add_argument("file", type=Path, metavar="FILE.safetensors", help="what is written")
    parser.add_argument(
        "--data-dir", type=Path, metavar="FOLDER", help="where the files of complete data sets lie"
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
