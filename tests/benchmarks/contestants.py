"""Contestants that ``minisn bench`` lacks: a program for :func:`minisn.bench.compare` to run.

The libraries ``torch-compile`` (compiled networks, channels last) and ``jax`` make a training step;
``minisn`` and ``torch`` make one round of power iteration (``power``) or one step of Adam
(``adam``) over all of Table 3's weights, or a job of one of its convolutions (``convolutions.py``);
``numpy`` multiplies two matrices (``product``).
"""

import numpy as np
from convolutions import job

from minisn.bench import main, noise
from minisn.data import scale_images

SIDE = 2048
"""Rows and columns of the matrices that are multiplied."""


def multiply_adds(operation, *arrays) -> int:
    """Count the multiply-adds of an operation from its name, its inputs and its result.

    The three convolutions have the same sum: every weight, at every pixel of y.
    """
    match operation, *arrays:
        case (
            ("conv2d", _, w, y)
            | ("conv2d_with_bias", _, w, _, y)
            | ("conv2d_transpose", y, w, _)
            | ("conv2d_weight", _, y, w)
        ):
            return w.size * y[:, 0].size
        case ("matmul", a, _, y):
            return y.size * a.shape[-1]
    return 0


def compiled(config):
    import torch

    from minisn.bench_torch import TorchTrainer

    trainer = TorchTrainer(config, scale_images(noise(config)), torch.get_num_threads())
    for network in (trainer.G, trainer.D):
        network.to(memory_format=torch.channels_last)
    trainer.images = trainer.images.to(memory_format=torch.channels_last)
    # Module.compile(), in place, stays eager in PyTorch 2.13
    trainer.G, trainer.D = (torch.compile(x, dynamic=False) for x in (trainer.G, trainer.D))
    return trainer.update


def in_jax(config):
    from in_jax import trainer

    return trainer(config, scale_images(noise(config)))


def our_networks(config):
    from minisn.training import networks

    return networks(config, noise(config).shape[1], 0, np.random.default_rng(0))


def our_power(config):
    from minisn.kernels import one_pool
    from minisn.nn import power_step

    _, D = our_networks(config)

    def job():
        with one_pool():  # as in a training step
            power_step(D)

    return job


def our_adam(config):
    from minisn.optim import Adam
    from minisn.tensor import Tensor

    parameters = [p for network in our_networks(config) for p in network.parameters()]
    rng = np.random.default_rng(1)
    grads = [Tensor.wrap(rng.standard_normal(p.shape, np.float32)) for p in parameters]
    adam = Adam(parameters, config.rate_d, config.beta1, config.beta2)
    return lambda: adam.step(grads)


def torch_power(config):
    from minisn.bench_torch import networks

    _, D = networks(config, noise(config).shape[1])
    found = [m.parametrizations.weight for m in D.modules() if hasattr(m, "parametrizations")]
    norms = [
        (chain[0], chain[0]._reshape_weight_to_matrix(chain.original.detach())) for chain in found
    ]

    def job():
        for norm, matrix in norms:
            norm._power_method(matrix, 1)

    return job


def torch_adam(config):
    import torch

    from minisn.bench_torch import networks

    both = networks(config, noise(config).shape[1])
    parameters = [p for network in both for p in network.parameters()]
    adam = torch.optim.Adam(parameters, config.rate_d, (config.beta1, config.beta2))
    for p in parameters:
        p.grad = torch.randn_like(p)
    return adam.step


def product(config):
    a, b = np.random.default_rng(0).standard_normal((2, SIDE, SIDE), np.float32)
    c = np.empty_like(a)
    return lambda: np.matmul(a, b, out=c)


JOBS = {
    ("torch-compile", "step"): compiled,
    ("jax", "step"): in_jax,
    ("minisn", "power"): our_power,
    ("torch", "power"): torch_power,
    ("minisn", "adam"): our_adam,
    ("torch", "adam"): torch_adam,
    ("numpy", "product"): product,
}


def made(contestant):
    """Return what a contestant repeats."""
    library, config, work = contestant.library, contestant.config, contestant.work
    return JOBS[library, work](config) if (library, work) in JOBS else job(library, config, work)


if __name__ == "__main__":
    main(made)
