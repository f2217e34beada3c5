"""Algorithm 1: one plain loop over the updates of D and G.

Source: [M18 Alg. 1]
"""

import copy
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from . import kernels, ops
from .augment import augment
from .backend import Array, to_device, to_numpy
from .config import Config
from .data import (
    BatchStream,
    Fingerprint,
    check_images,
    class_count,
    dequantize_images,
    fingerprint,
    scale_images,
)
from .errors import ConfigError, DTypeError, NonFiniteError, ShapeError
from .init import INITIALIZERS
from .labels import Labels, labels_of
from .losses import OBJECTIVES, cross_entropy
from .models import MODELS
from .nn import BatchNorm, Module, power_step
from .optim import Adam
from .regularizers import GradientPenalty, method, project
from .tensor import Tensor, grad, no_grad

PIECE = 250
"""How many images a generator draws at once."""

CLASS_LOSS_OF_G = 0.1
"""Weight of the auxiliary classifier's loss for G; it is 1 for D. Both come from Gulrajani et al.'s
public CIFAR-10 code, on which the networks of [M18 Table 8] build; M18 does not state them."""


@dataclass(frozen=True)
class Losses:
    """The losses of one step: of D's last update and of G's update."""

    d: Array
    g: Array


def networks(
    config: Config, channels: int, classes: int, rng: np.random.Generator
) -> tuple[Module, Module]:
    """Build G and D as a configuration describes them.

    Args:
        config: all settings.
        channels: the number of channels of the images.
        classes: the number of classes; 0 for no labels.
        rng: draws the weights.
    Returns:
        (G, D).
    Raises:
        ConfigError: the model has no table for the size, a conditional model has no classes, or
            a model other than the CNN has a setting of the CNN.
    """
    of_cnn = {"features": 0, "features_in": 0, "unit_norm": False, "gamma": "none"}
    for name, value in of_cnn.items():
        if config.model != "cnn" and getattr(config, name) != value:
            raise ConfigError(
                f'{name} = {getattr(config, name)}: only model = "cnn" has this setting, not '
                f"{config.model!r}; set {name} = {json.dumps(value)}"
            )
    scheme = method(config.regularizer, config.scale, config.gain, config.init)
    classes = 0 if config.conditional == "none" else classes
    generator, discriminator = MODELS[config.model]
    init_g = INITIALIZERS["normal" if config.init_g == "default" else config.init_g]
    names, for_g = ["conditional", "last_bias"], {}
    if config.model == "cnn":
        for_g["unit_norm"] = config.unit_norm
        names += ["features", "features_in", "gamma"]
    for_d = {name: getattr(config, name) for name in names}
    sizes = config.size, channels, rng, config.width
    G = generator(*sizes, config.latent, classes, init_g, **for_g)
    return G, discriminator(*sizes, scheme, classes=classes, **for_d)


def bare_networks(config: Config, channels: int) -> tuple[Module, Module]:
    """Build G and D without labels, and D without a regularizer, for programs that time or count.

    Args:
        config: all other settings.
        channels: the number of channels of the images.
    Returns:
        (G, D).
    Raises:
        ConfigError: as :func:`networks`.
    """
    bare = {"regularizer": "none", "scale": 1.0, "gain": False, "conditional": "none"}
    return networks(config.replace(**bare), channels, 0, np.random.default_rng(0))


class Trainer:
    """The networks, their optimizers, the stream of data, and the counters of training.

    Equal configurations and data give equal numbers, bit for bit, on one machine with
    one number of threads.

    Args:
        config: all settings.
        images: uint8, [N, C, size, size], of 1 or 3 channels.
        device: a name in :data:`minisn.backend.DEVICES`, ``"cpu"`` or ``"cuda"``.
        labels: integers from 0, [N]; a conditional model needs them.
    Raises:
        ConfigError: a conditional model without labels, images of another size or fewer than a
            batch, or settings that do not go together.
        DTypeError, ShapeError: images in another form; the message says how to convert them.
    """

    def __init__(
        self,
        config: Config,
        images: np.ndarray,
        device: str = "cpu",
        labels: np.ndarray | None = None,
    ):
        self.config = config
        self.device = device
        check_images(images, config.size)
        self.labels = _labels(config, labels, len(images))
        self.classes = class_count(self.labels)
        self.method = method(config.regularizer, config.scale, config.gain)
        rng = np.random.default_rng(config.seed)
        self.G, self.D = networks(config, images.shape[1], self.classes, rng)
        self.G.to(device)
        self.D.to(device)
        self._apart = config.power_steps == "pass" or any(
            isinstance(m, BatchNorm) for _, m in self.D.named_modules()
        )
        penalty = GradientPenalty(config.gradient_penalty) if config.gradient_penalty else None
        self.penalties = [p for p in (self.method.penalty, penalty) if p]
        betas = (config.beta1, config.beta2)
        self.adam_d = Adam(_named("D", self.D), config.rate_d, *betas)
        self.adam_g = Adam(_named("G", self.G), config.rate_g, *betas)
        self.average = self.G.state_dict() if config.average else {}
        self.images = images
        self.data = BatchStream(images, config.batch_size, seed=config.seed)
        self.rng = rng
        self.step = 0
        self.seconds = 0.0  # of training so far; the loop sets it
        self.scores: tuple[Array, Array] | None = None  # see loss_d

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of the training images and of the labels in use."""
        return fingerprint(self.images, self.labels)

    def update(self) -> Losses:
        """Make one step: n_dis updates of D, each after one power step, then one of G.

        Source: [M18 Alg. 1]
        Deviation: the authors' code updates G first (``first = "G"``), with 128 samples for D's 64
        (``batch_size_g``), and makes a power step at every pass of D, 2 n_dis + 1 of them
        (``power_steps = "pass"``), as the preset ``cifar10-authors`` does. For its CIFAR-10 ResNet
        the step sizes fall from the first of 50,000 steps on (``decay_at_once = true``).
        Deviation: L21's code reuses the z of D's last update for G's update (its ResNet draws
        anew). In G's update it divides by the norm of the new weight after a power step that it
        does not keep. Its ResNet's batch normalization moves the running moments in G's updates
        only; here they move whenever G makes samples for training.
        """
        self._set_rates()
        with kernels.one_pool():
            loss_g = self._update_g() if self.config.first == "G" else None
            for _ in range(self.config.n_dis):
                loss_d = self._update_d()
            loss_g = self._update_g() if loss_g is None else loss_g
        if self.config.average:
            self._update_average()
        self.step += 1
        return Losses(loss_d.array, loss_g.array)

    def _update_d(self) -> Tensor:
        """Make one gradient step of D, in the weights before normalization.

        Source: [M18 Alg. 1], [M18 Eq. (23)]
        """
        real, y_real = self.next_batch()
        z, y_fake = self.latent()
        with no_grad():
            fake = self.G(z, y_fake)
        if self.config.power_steps == "update":
            power_step(self.D)
        loss = self.loss_d(real, y_real, fake, y_fake)
        self.adam_d.step(grad(loss, self.D.parameters()))
        project(self.D, self.method.projection)
        return loss

    def _update_g(self) -> Tensor:
        loss = self.loss_g(*self.latent(self.config.batch_size_g))
        self.adam_g.step(grad(loss, self.G.parameters()))
        return loss

    def loss_d(
        self, real: Tensor, y_real: Labels | None, fake: Tensor, y_fake: Labels | None
    ) -> Tensor:
        """Compute the loss of D on real images and samples: the objective and any penalty.

        ``scores`` keeps both scores for the log, on the device, until the next call.
        """
        n, objective = len(real), OBJECTIVES[self.config.objective]
        if self._apart:
            (of_real, guess), (of_fake, _) = self._judge(real, y_real), self._judge(fake, y_fake)
        else:
            labels = Labels.joined([y_real, y_fake])
            score, guess = self._judge(ops.concat([real, fake]), labels)
            of_real, of_fake = score[:n], score[n:]
        self.scores = of_real.array, of_fake.array
        loss = objective.d(of_real, of_fake)
        if guess is not None:
            loss = loss + cross_entropy(guess[:n], y_real)
        for penalty in self.penalties:
            loss = loss + penalty(self.D, lambda x: self._judge(x, y_real)[0], real, fake, self.rng)
        return loss

    def loss_g(self, z: Tensor, labels: Labels | None) -> Tensor:
        """Compute the loss of G on samples."""
        score, guess = self._judge(self.G(z, labels), labels)
        loss = OBJECTIVES[self.config.objective].g(score)
        return loss if guess is None else loss + CLASS_LOSS_OF_G * cross_entropy(guess, labels)

    def _judge(self, images: Tensor, labels: Labels | None) -> tuple[Tensor, Tensor | None]:
        """Return D's scores of augmented images, and the logits of any auxiliary classifier."""
        images = augment(images, self.config.augment, self.rng)
        if self.config.power_steps == "pass":
            power_step(self.D)
        if self.config.conditional == "auxiliary":
            score, guess = self.D(images)
        else:
            score, guess = self.D(images, labels), None
        if not kernels.finite_or_unseen(score.array):
            raise NonFiniteError(
                "a logit is a NaN or an infinity, so there is no loss: training "
                "has diverged; lower the step sizes"
            )
        return score, guess

    def next_batch(self) -> tuple[Tensor, Labels | None]:
        """Take the next real images, float32 in [-1, 1], with their labels, on the device."""
        rows = self.data.next_indices()
        pixels = self.images[rows]
        noisy = self.config.dequantize
        images = dequantize_images(pixels, self.rng) if noisy else scale_images(pixels)
        if self.config.flip:
            flipped = self.rng.random((len(images), 1, 1, 1)) < 0.5
            images = np.where(flipped, images[..., ::-1], images)
        x = self._on_device(images)
        return x, None if self.labels is None else labels_of("labels", self.labels[rows], x.array)

    def latent(self, n: int = 0) -> tuple[Tensor, Labels | None]:
        """Draw n standard normal latent vectors, by default a batch, and uniform labels."""
        n = n or self.config.batch_size
        z = self._on_device(self.rng.standard_normal((n, self.config.latent), np.float32))
        if not self.classes:
            return z, None
        return z, labels_of("labels", self.rng.integers(self.classes, size=n), z.array)

    def _on_device(self, array: np.ndarray) -> Tensor:
        return Tensor.wrap(to_device(array, self.device))

    def _set_rates(self) -> None:
        """Lower the step sizes linearly to 0, from the step where decay begins.

        Source: [M18 App. B.2]
        """
        config, share = self.config, 1.0
        # decay that would begin after the last step does not begin
        begins = bool(config.decay_after) and config.decay_after < min(self.step, config.steps)
        if config.decay_at_once or begins:
            share = (config.steps - self.step) / (config.steps - config.decay_after)
            share = max(share, 0.0)  # a caller may go on after the last step
        self.adam_d.rate, self.adam_g.rate = share * config.rate_d, share * config.rate_g

    def _update_average(self) -> None:
        """Move the averaged generator a little toward G: parameters and running moments.

        The decay grows with the steps, so that the random weights of the start are forgotten.
        """
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        for name, now in self.G.state_dict().items():
            self.average[name] = decay * self.average[name] + (1 - decay) * now

    def sample(self, z: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Draw images with the averaged generator, or G itself if there is no average.

        Args:
            z: latent vectors, float32, [N, latent].
            labels: integers, [N], for a conditional model; None takes each class in turn.
        Returns:
            Images in (-1, 1), float32, [N, C, size, size]. The trainer does not change.
        """
        G = copy.deepcopy(self.G)
        if self.config.average:
            G.load_state_dict(self.average)
        if labels is not None and not self.classes:
            raise ConfigError("sample: the model has no labels to draw by; omit them")
        if self.classes and labels is None:
            labels = np.arange(len(z)) % self.classes
        return draw(G, to_device(z, self.device), *([] if labels is None else [labels]))


def draw(G: Module, z: Array, *labels: np.ndarray) -> np.ndarray:
    """Draw images with a generator, :data:`PIECE` at a time.

    Args:
        G: the generator; it stays in evaluation mode.
        z: latent vectors, [N, latent], on the device of G.
        labels: integers, [N], for a conditional generator.
    Returns:
        Images in (-1, 1), float32, [N, C, size, size].
    """
    if any(len(y) != z.shape[0] for y in labels):
        raise ShapeError(f"labels: expected {z.shape[0]}, one for each z, got {len(labels[0])}")
    G.eval()
    with no_grad():
        parts = [
            G(
                Tensor.wrap(z[k : min(k + PIECE, z.shape[0]), ...]),
                *(y[k : k + PIECE] for y in labels),
            ).array
            for k in range(0, z.shape[0], PIECE)
        ]
    return np.concatenate([to_numpy(part) for part in parts])


def _named(who: str, network: Module) -> dict[str, Tensor]:
    return {f"{who}/{name}": p for name, p in network.named_parameters().items()}


def _labels(config: Config, labels: np.ndarray | None, count: int) -> np.ndarray | None:
    """Check the labels and return them; None if the model uses no labels."""
    if config.conditional == "none":
        return None
    if labels is not None and not isinstance(labels, np.ndarray):
        raise DTypeError(
            "labels: expected a NumPy array of integers, [N], got an object of type "
            f"{type(labels).__name__}; pass np.array(labels)"
        )
    if labels is not None and labels.dtype.kind not in "iu":
        raise DTypeError(
            f"labels: expected a NumPy array of integers, [N], got dtype {labels.dtype}; number "
            "the classes from 0: pass np.unique(labels, return_inverse=True)[1]"
        )
    if labels is not None and labels.shape != (count,):
        raise ConfigError(f"expected {count} labels, one for each image, got {list(labels.shape)}")
    if labels is None or labels.min() < 0:
        raise ConfigError(
            f"conditional = {config.conditional!r} needs labels, but got "
            f"{'none' if labels is None else 'negative ones'}; pass labels=..., choose labeled "
            'data, or set conditional = "none"'
        )
    return labels
