"""Train the feature network: ``python -m minisn.metrics.train_features FILE``.

A few minutes on one core. Equal seeds give equal bits on one machine with one number of
threads. The network that ships was made by it, with seed 0; digits that are held out, 1,000 of
the shipped 10,000, tell how good it is.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save as to_bytes
from scipy.ndimage import affine_transform

from .. import kernels
from ..data import BatchStream, load, scale_images
from ..losses import cross_entropy
from ..nn import Sequential
from ..optim import Adam
from ..tensor import Tensor, grad, no_grad
from .digits import Extractor, accuracy, digits_network, held_out

EPOCHS, BATCH, RATE = 30, 50, 1e-3
TURN, SHIFT = 12.0, 2.0
"""The most that an image is turned, degrees, and moved, pixels."""


def train(
    images: np.ndarray, labels: np.ndarray, epochs: int = EPOCHS, seed: int = 0
) -> Sequential:
    """Train the network on digits that are turned and moved a little, anew at every sight.

    Adam's step falls to 0 in a straight line.

    Args:
        images: uint8, [N, 1, 28, 28].
        labels: integers, [N].
        epochs: how often each image is seen.
        seed: of weights, order, turns and shifts.
    Returns:
        The network, its numbers rounded to half precision, in which they are kept.
    """
    rng = np.random.default_rng(seed)
    network = digits_network(rng)
    adam = Adam(network.parameters(), RATE, 0.9, 0.999)
    stream, steps = BatchStream(images, BATCH, seed), epochs * (len(images) // BATCH)
    with kernels.one_pool():
        for step in range(steps):
            rows = stream.next_indices()
            x = scale_images(np.stack([_move(image, rng) for image in images[rows, 0]]))
            loss = cross_entropy(network(Tensor.wrap(x[:, None])), Tensor.wrap(labels[rows]))
            adam.rate = RATE * (1 - step / steps)
            adam.step(grad(loss, network.parameters()))
    _level(network, scale_images(images[:1000]))
    network.load_state_dict(_half(network))
    return network


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


def _move(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn and move one image, uint8, [28, 28], about its middle."""
    angle = np.deg2rad(rng.uniform(-TURN, TURN))
    c, s = np.cos(angle), np.sin(angle)
    matrix, middle = np.array([[c, -s], [s, c]]), (np.array(image.shape) - 1) / 2
    offset = middle - matrix @ middle + rng.uniform(-SHIFT, SHIFT, 2)
    return affine_transform(image, matrix, offset, order=1)


def _half(network: Sequential) -> dict[str, np.ndarray]:
    return {name: np.asarray(a, np.float16) for name, a in network.state_dict().items()}


def main(path: Path, epochs: int = EPOCHS) -> None:
    """Train on the shipped digits, tell the accuracy, and write the file and its digest."""
    data = load("mnist-10k")
    seen, unseen = held_out(data)
    network = train(data.images[seen], data.labels[seen], epochs)
    raw = to_bytes(_half(network))
    digest = hashlib.sha256(raw).hexdigest()
    _, p = Extractor(network, digest)(data.images[unseen], "held out")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    print(f"{path}: {len(raw):,} bytes, SHA-256 {digest}\n"
          f"accuracy on {len(unseen):,} digits held out: "
          f"{accuracy(p.values, data.labels[unseen]):.1%}")  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m minisn.metrics.train_features FILE.safetensors")
    main(Path(sys.argv[1]))
