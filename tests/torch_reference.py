"""The paper's networks and Algorithm 1 once more, in PyTorch: the oracle of whole training runs.

Written from the tables, with PyTorch's convolutions, batch normalization, autograd and Adam. The
library's names of arrays are all that it goes by: one that is missing or of another shape than
the table's stops it, and so does a parameter that no loss depends on.
"""

import numpy as np
import torch
from torch.nn import functional as F

from minisn.optim import Adam
from minisn.tensor import Tensor
from minisn.training import Trainer

KNOWN = {
    "model": ("cnn", "resnet"), "features": (0,), "features_in": (0,), "unit_norm": (False,),
    "conditional": ("none", "projection"),
    "objective": ("hinge",), "regularizer": ("sn",), "gain": (False,), "gamma": ("none",),
    "gradient_penalty": (0.0,),
}  # fmt: skip
"""What is written below. A setting that is not must be taught here before it can be checked."""


class Recorded(Trainer):
    """A trainer in any floating-point type that remembers what it was fed."""

    def __init__(self, config, images, dtype, labels=None, eps=1e-8):
        super().__init__(config, images, labels=labels)
        self.dtype, self.real, self.noise, self.states = dtype, [], [], []
        self.G.to(dtype=dtype)
        self.D.to(dtype=dtype)
        self.average = self.G.state_dict() if self.average else {}
        self.adam_d, self.adam_g = (
            Adam(network.parameters(), adam.rate, adam.beta1, adam.beta2, eps)
            for network, adam in ((self.D, self.adam_d), (self.G, self.adam_g))
        )

    def next_batch(self):
        return self._kept(self.real, *super().next_batch())

    def latent(self, n=0):
        return self._kept(self.noise, *super().latent(n))

    def _judge(self, images, labels):
        self.states.append(self.rng.bit_generator.state)
        return super()._judge(images, labels)

    def _kept(self, fed, batch, labels):
        batch = Tensor.wrap(batch.numpy().astype(self.dtype))
        fed.append([torch.tensor(t.numpy()) for t in (batch, labels) if t is not None])
        return batch, labels

    def arrays(self):
        """Copies of all that training moves: parameters, state and the average."""
        found = by_name(self.G.state_dict(), self.D.state_dict(), self.average)
        return {name: array.copy() for name, array in found.items()}


def by_name(G, D, average):
    parts = {"G": G, "D": D, "average": average}
    return {
        f"{part}.{name}": array for part, arrays in parts.items() for name, array in arrays.items()
    }


class Network:
    """Copies of a network's arrays, and what both networks do with them."""

    def __init__(self, network, config, colors):
        self.config, self.width, self.colors = config, config.width, colors
        parameters = network.named_parameters()
        self.p = {
            name: torch.tensor(p.numpy(), requires_grad=True) for name, p in parameters.items()
        }
        self.state = {
            name: torch.tensor(array)
            for name, array in network.state_dict().items()
            if name not in parameters
        }

    def __call__(self, x, *labels):
        return getattr(self, self.config.model)(x, *labels)

    def arrays(self):
        return {name: t.detach() for name, t in (self.p | self.state).items()}

    def weight(self, at):
        return self.p[f"{at}.weight"]

    def conv(self, x, at, d_out, kernel=3, stride=1):
        W = self.weight(at)
        assert W.shape == (d_out, x.shape[1], kernel, kernel), at
        return F.conv2d(x, W, self.p[f"{at}.bias"], stride, padding=0 if kernel == 1 else 1)

    def dense(self, x, at):
        return F.linear(x, self.weight(at), self.p.get(f"{at}.bias"))


class Generator(Network):
    """Tables 3 and 4, (a)."""

    def cnn(self, z, *labels):
        w, size = self.width, self.config.size
        h = F.linear(z, self.weight("layers.0")).reshape(-1, 8 * w, size // 8, size // 8)
        for k, (d_out, side) in enumerate([(4 * w, size // 4), (2 * w, size // 2), (w, size)]):
            h = F.relu(self.batch_norm(h, f"layers.{3 * k + 2}", *labels))
            W, extra = self.weight(f"layers.{3 * k + 4}"), side - 2 * h.shape[2]
            assert W.shape == (2 * d_out, d_out, 4, 4)
            h = F.conv_transpose2d(h, W, stride=2, padding=1, output_padding=extra)
        h = F.relu(self.batch_norm(h, "layers.11", *labels))
        return torch.tanh(self.conv(h, "layers.13", self.colors))

    def resnet(self, z, *labels):
        h = self.dense(z, "layers.0").reshape(-1, 2 * self.width, 4, 4)
        for k in (2, 3, 4):
            h = self.up(h, f"layers.{k}", *labels)
        h = F.relu(self.batch_norm(h, "layers.5"))
        return torch.tanh(self.conv(h, "layers.7", self.colors))

    def up(self, x, at, *labels):
        """Figure 8's block, twice the size."""
        d_out = 2 * self.width
        h = F.relu(self.batch_norm(x, f"{at}.n1", *labels))
        h = self.conv(F.interpolate(h, scale_factor=2), f"{at}.c1", d_out)
        h = F.relu(self.batch_norm(h, f"{at}.n2", *labels))
        shortcut = self.conv(F.interpolate(x, scale_factor=2), f"{at}.c0", d_out, kernel=1)
        return self.conv(h, f"{at}.c2", d_out) + shortcut

    def batch_norm(self, x, at, *labels):
        """Normalize by the moments of all images; with labels, gain and shift are the class's."""
        with torch.no_grad():
            now = {"mean": x.mean((0, 2, 3)), "var": x.var((0, 2, 3), unbiased=False)}
            for name, moment in now.items():
                self.state[f"{at}.running_{name}"].lerp_(moment, 0.1)
        gamma, beta = (self.p[f"{at}.{name}"] for name in ("gamma", "beta"))
        for c in labels:
            gamma, beta = gamma[c], beta[c]
        y = F.batch_norm(x, None, None, training=True, eps=1e-5)
        return y * gamma[..., None, None] + beta[..., None, None]


class Discriminator(Network):
    """Tables 3 and 4, (b), with every weight divided by its norm.

    PyTorch's own spectral norm counts power steps otherwise, one for each forward pass.
    """

    def weight(self, at):
        W, u, v = self.p[f"{at}.weight"], self.state[f"{at}.u"], self.state[f"{at}.v"]
        return self.config.scale * W / (u @ W.flatten(1) @ v)

    @torch.no_grad()
    def power_step(self):
        for name, W in self.p.items():
            layer, _, kind = name.rpartition(".")
            if kind == "weight":
                v = F.normalize(W.flatten(1).T @ self.state[f"{layer}.u"], dim=0)
                u = F.normalize(W.flatten(1) @ v, dim=0)
                self.state |= {f"{layer}.u": u, f"{layer}.v": v}

    def cnn(self, x, *labels):
        for k, factor in enumerate((1, 1, 2, 2, 4, 4, 8)):
            kernel, stride = (4, 2) if k % 2 else (3, 1)
            h = self.conv(x, f"layers.{2 * k}", factor * self.width, kernel, stride)
            x = F.leaky_relu(h, 0.1)
        return self.score(x.flatten(1), "layers.15", *labels)

    def resnet(self, x, *labels):
        """Figure 8's blocks: the first without its first ReLU, the last two of the same size."""
        w = self.width
        h = self.conv(x, "layers.0.residual.layers.0", w)
        h = F.avg_pool2d(self.conv(F.relu(h), "layers.0.residual.layers.2", w), 2)
        x = h + self.conv(F.avg_pool2d(x, 2), "layers.0.shortcut.layers.0", w, kernel=1)
        for k in (1, 2, 3):
            h = self.conv(F.relu(x), f"layers.{k}.residual.layers.1", w)
            h = self.conv(F.relu(h), f"layers.{k}.residual.layers.3", w)
            if k == 1:
                h, x = (
                    F.avg_pool2d(y, 2)
                    for y in (h, self.conv(x, "layers.1.shortcut.layers.0", w, kernel=1))
                )
            x = h + x
        return self.score(F.relu(x).sum((2, 3)), "layers.6", *labels)

    def score(self, phi, at, *labels):
        if not labels:
            return self.dense(phi, at)
        V = self.weight(f"{at}.V")
        return self.dense(phi, f"{at}.psi") + (V[labels[0]] * phi).sum(1, keepdim=True)


class Reference:
    """A recorded trainer's updates in PyTorch, from the weights, u and v that it has now."""

    def __init__(self, trainer):
        self.config = config = trainer.config
        for name, known in KNOWN.items():
            assert getattr(config, name) in known, f"{name}: teach it tests/torch_reference.py"
        assert config.model == "cnn" or config.size == 32, "a ResNet: only Table 4 is written here"
        self.real, self.noise, self.states = trainer.real, trainer.noise, trainer.states
        self.step = 0
        colors, adam = trainer.images.shape[1], torch.optim.Adam
        self.G = Generator(trainer.G, config, colors)
        self.D = Discriminator(trainer.D, config, colors)
        self.average = {n: t.clone() for n, t in self.G.arrays().items() if config.average}
        how = {"betas": (config.beta1, config.beta2), "eps": trainer.adam_d.eps}
        self.adam_g = adam(self.G.p.values(), config.rate_g, **how)
        self.adam_d = adam(self.D.p.values(), config.rate_d, **how)

    def update(self):
        """Make one step on what the trainer was fed in its own, and return the two losses."""
        config, G = self.config, self.G
        if config.first == "G":
            loss_g = self.update_g()
        for _ in range(config.n_dis):
            loss_d = self.update_d()
        if config.first == "D":
            loss_g = self.update_g()
        decay = min(config.average, (1 + self.step) / (10 + self.step))
        now = G.arrays()
        for name, value in self.average.items():
            value.lerp_(now[name], 1 - decay)
        self.step += 1
        return loss_d.item(), loss_g.item()

    def update_d(self):
        """Descend once with D, as Algorithm 1 does, or with a norm of its own for each pass."""
        G, D = self.G, self.D
        (x, *y), (z, *c) = self.real.pop(0), self.noise.pop(0)
        with torch.no_grad():
            fake = G(z, *c)
        if self.config.power_steps == "pass":
            of_real = self.judged(x, *y)
            of_fake = self.judged(fake, *c)
        else:
            D.power_step()
            x, fake = self.seen(torch.cat([x, fake])).split(len(x))
            of_real, of_fake = D(x, *y), D(fake, *c)
        loss = F.relu(1 - of_real).mean() + F.relu(1 + of_fake).mean()
        self.descend(self.adam_d, loss, self.config.rate_d)
        return loss

    def update_g(self):
        z, *c = self.noise.pop(0)
        assert len(z) == (self.config.batch_size_g or self.config.batch_size)
        fake = self.G(z, *c)
        per_pass = self.config.power_steps == "pass"
        loss = -(self.judged(fake, *c) if per_pass else self.D(self.seen(fake), *c)).mean()
        self.descend(self.adam_g, loss, self.config.rate_g)
        return loss

    def judged(self, x, *labels):
        """D's scores in a pass that begins with a power step."""
        x = self.seen(x)
        self.D.power_step()
        return self.D(x, *labels)

    def seen(self, x):
        """Change images as Zhao et al. (2020) do, by what the trainer drew for it."""
        rng = np.random.default_rng()
        rng.bit_generator.state = self.states.pop(0)
        n, size = len(x), x.shape[2]
        for kind in self.config.augment.replace("none", "").split(","):
            if kind == "color":
                ranges = ((-0.5, 0.5), (0, 2), (0.5, 1.5))
                b, s, c = (torch.tensor(rng.uniform(*r, (n, 1, 1, 1))) for r in ranges)
                x = x + b
                x = torch.lerp(x.mean(1, keepdim=True), x, s)
                x = torch.lerp(x.mean((1, 2, 3), keepdim=True), x, c)
            elif kind == "translation":
                down, right = (rng.integers(-size // 8, size // 8 + 1, n) for _ in "yx")
                wide = F.pad(x, [size // 8] * 4)
                top, left = size // 8 - down, size // 8 - right
                x = torch.stack(
                    [
                        wide[k, :, i : i + size, j : j + size]
                        for k, (i, j) in enumerate(zip(top, left, strict=True))
                    ]
                )
            elif kind == "cutout":
                top, left = (rng.integers(0, size + 1, n) - size // 4 for _ in "yx")
                mask = torch.ones(n, 1, size, size)
                for k, (i, j) in enumerate(zip(top, left, strict=True)):
                    mask[k, :, max(i, 0) : i + size // 2, max(j, 0) : j + size // 2] = 0
                x = x * mask
        return x

    def descend(self, adam, loss, rate):
        """Take one of Adam's steps, of a size that falls to 0 in a straight line at the end."""
        (group,) = adam.param_groups
        steps, start = self.config.steps, self.config.decay_after
        falls = start or self.config.decay_at_once
        group["lr"] = rate * min(1, (steps - self.step) / (steps - start)) if falls else rate
        slopes = torch.autograd.grad(loss, group["params"])
        for p, slope in zip(group["params"], slopes, strict=True):
            p.grad = slope
        adam.step()

    def arrays(self):
        """Copies of all that training moves, under the library's names."""
        found = by_name(self.G.arrays(), self.D.arrays(), self.average)
        return {name: tensor.numpy().copy() for name, tensor in found.items()}


def agree_in_double_precision(trainer, reference, start):
    """Compare all arrays: each is where PyTorch's is, within 1e-10 of the way from its start.

    Both round sums of some hundred terms in another order, 1e-16 of their size. Adam scales
    every gradient to 1, so where one nearly cancels its rounding grows: 1e-13 was seen.

    Where batch normalization takes back what a bias adds, nothing but rounding is left: some
    1e-13 in sums over all pixels, which Adam's eps of 1e-8 makes 1e-5 of its steps. Such a bias
    must stay where it is but for that, and running means, which it is part of, may be as far off.
    """
    ours, theirs = trainer.arrays(), reference.arrays()
    assert ours.keys() == theirs.keys()
    taken_back = [name for name in ours if name.endswith((".c0.bias", ".c1.bias", ".c2.bias"))]
    idle = max((abs(a[n]).max() for a in (ours, theirs) for n in taken_back), default=0.0)
    assert idle <= 1e-4 * reference.step * trainer.config.rate_g
    for name in ours.keys() - set(taken_back):
        allowed = 1e-10 * np.linalg.norm(ours[name] - start[name])
        if name.endswith("running_mean"):
            allowed += 4 * idle * ours[name].size ** 0.5
        assert np.linalg.norm(ours[name] - theirs[name]) <= allowed, name
