"""Table 3's SNGAN in JAX, with a whole training step under one ``jit``: a contestant to time.

A step does the same as one of :class:`minisn.bench_torch.TorchTrainer`, which is tested against
minisn's own trainer. D sees data and samples in one batch, each update of D moves u once, G's step
computes no gradient of D's weights, and a running average of G is kept if the configuration has
one. Images lie channels last, the layout that XLA prefers on a CPU.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

EPS_NORM, EPS_BATCH, EPS_ADAM = 1e-12, 1e-5, 1e-8
LAYOUT = ("NHWC", "HWIO", "NHWC")


def parameters(config, channels, key):
    """Draw both networks: G's weights, D's weights, D's left singular vectors.

    Source: [M18 Table 3]
    """
    w, start = config.width, config.size >> 3
    keys = iter(jax.random.split(key, 32))

    def draw(*shape):  # kernels are [height, width, in, out], dense weights [in, out]
        return jax.random.normal(next(keys), shape) / math.sqrt(math.prod(shape[:-1]))

    norm = lambda n: {"gain": jnp.ones(n), "shift": jnp.zeros(n)}  # noqa: E731
    G = {
        "dense": draw(config.latent, start * start * 8 * w),
        "norms": [norm(8 * w), *(norm(f * w) for f in (4, 2, 1))],
        "ups": [draw(4, 4, 2 * f * w, f * w) for f in (4, 2, 1)],
        "last": draw(3, 3, w, channels),
        "bias": jnp.zeros(channels),
    }
    D, u, d_in = [], [], channels
    for step, factor in enumerate((1, 1, 2, 2, 4, 4, 8)):
        k = 4 if step % 2 else 3
        D.append({"W": draw(k, k, d_in, factor * w), "b": jnp.zeros(factor * w)})
        d_in = factor * w
    D.append({"W": draw(d_in * start * start, 1), "b": jnp.zeros(1)})
    for layer in D:
        u.append(normalized(jax.random.normal(next(keys), layer["W"].shape[-1:])))
    return G, D, u


def normalized(x):
    """Divide by the Euclidean norm."""
    return x / jnp.maximum(jnp.linalg.norm(x), EPS_NORM)


def batch_norm(x, p):
    """Normalize every channel over the batch, in training mode."""
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axes), x.var(axes)
    return (x - mean) * lax.rsqrt(var + EPS_BATCH) * p["gain"] + p["shift"]


def generator(G, z, size):
    """Map latent vectors [N, latent] to images [N, size, size, C]."""
    first = G["ups"][0].shape[2]
    start = math.isqrt(G["dense"].shape[1] // first)
    x = (z @ G["dense"]).reshape(len(z), start, start, first)
    x = jax.nn.relu(batch_norm(x, G["norms"][0]))
    for k, (kernel, norm) in enumerate(zip(G["ups"], G["norms"][1:], strict=True)):
        extra = (size >> (2 - k)) - 2 * x.shape[1]
        pad = ((2, 2 + extra), (2, 2 + extra))
        x = lax.conv_transpose(x, kernel, (2, 2), pad, dimension_numbers=LAYOUT)
        x = jax.nn.relu(batch_norm(x, norm))
    x = lax.conv_general_dilated(x, G["last"], (1, 1), "SAME", dimension_numbers=LAYOUT)
    return jnp.tanh(x + G["bias"])


def power_step(D, u):
    """Make one round of power iteration for every layer: new u, and v.

    Source: [M18 Eq. (18)], [M18 Eq. (19)]
    """
    new_u, new_v = [], []
    for layer, left in zip(D, u, strict=True):
        W = layer["W"].reshape(-1, layer["W"].shape[-1]).T
        v = normalized(W.T @ left)
        new_u.append(normalized(W @ v))
        new_v.append(v)
    return new_u, new_v


def discriminator(D, u, v, x):
    """Score images, with every weight divided by u'Wv.

    Source: [M18 Eq. (8)]
    """
    for step, layer in enumerate(D):
        W = layer["W"]
        W = W / (u[step] @ W.reshape(-1, W.shape[-1]).T @ v[step])
        if W.ndim == 2:
            return x.reshape(len(x), -1) @ W + layer["b"]
        stride = 2 if W.shape[0] == 4 else 1
        x = lax.conv_general_dilated(
            x, W, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=LAYOUT
        )
        x = jax.nn.leaky_relu(x + layer["b"], 0.1)
    raise AssertionError("the last layer is dense")


def adam(p, g, state, rate, beta1, beta2):
    """Make one step of Adam on a tree of weights."""
    m, s, t = state
    t = t + 1
    m = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, m, g)
    s = jax.tree.map(lambda s, g: beta2 * s + (1 - beta2) * g * g, s, g)
    scale = rate * jnp.sqrt(1 - beta2**t) / (1 - beta1**t)
    p = jax.tree.map(lambda p, m, s: p - scale * m / (jnp.sqrt(s) + EPS_ADAM), p, m, s)
    return p, (m, s, t)


def trainer(config, images):
    """Make a job that makes one step: n_dis updates of D, then one of G.

    Args:
        config: the sizes and step sizes.
        images: float32 in [-1, 1], [N, C, size, size].
    """
    images = jnp.asarray(images.transpose(0, 2, 3, 1))
    key, first = jax.random.split(jax.random.key(config.seed))
    G, D, u = parameters(config, images.shape[-1], first)
    zero = lambda tree: jax.tree.map(jnp.zeros_like, tree)  # noqa: E731
    state = {
        "G": G,
        "D": D,
        "u": u,
        "adam_g": (zero(G), zero(G), 0.0),
        "adam_d": (zero(D), zero(D), 0.0),
        "average": jax.tree.map(jnp.copy, G),
        "steps": 0.0,
    }
    n, size, betas = config.batch_size, config.size, (config.beta1, config.beta2)

    @partial(jax.jit, donate_argnums=0)
    def step(state, images, key):
        keys = jax.random.split(key, 2 * config.n_dis + 1)
        for k in range(config.n_dis):
            real = images[jax.random.randint(keys[2 * k], (n,), 0, len(images))]
            fake = generator(
                state["G"], jax.random.normal(keys[2 * k + 1], (n, config.latent)), size
            )
            u, v = power_step(state["D"], state["u"])

            def loss_d(D, u=u, v=v, real=real, fake=fake):
                scores = discriminator(D, u, v, jnp.concatenate([real, fake]))
                return jax.nn.relu(1 - scores[:n]).mean() + jax.nn.relu(1 + scores[n:]).mean()

            value, g = jax.value_and_grad(loss_d)(state["D"])
            D, adam_d = adam(state["D"], g, state["adam_d"], config.rate_d, *betas)
            state = state | {"D": D, "u": u, "adam_d": adam_d}
        z = jax.random.normal(keys[-1], (n, config.latent))

        def loss_g(G):
            return -discriminator(state["D"], u, v, generator(G, z, size)).mean()

        G, adam_g = adam(
            state["G"], jax.grad(loss_g)(state["G"]), state["adam_g"], config.rate_g, *betas
        )
        if config.average:
            t = state["steps"]
            decay = jnp.minimum(config.average, (1 + t) / (10 + t))
            average = jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), state["average"], G)
            state = state | {"average": average}
        return state | {"G": G, "adam_g": adam_g, "steps": state["steps"] + 1}, value

    def job():
        nonlocal state, key
        key, this = jax.random.split(key)
        state, value = step(state, images, this)
        return float(value)

    return job
