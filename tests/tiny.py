"""The smallest run that has everything: tests change what they ask about."""

from minisn.config import Config

TINY = Config(
    data="mnist-10k",
    size=8,
    width=2,
    latent=6,
    objective="hinge",
    scale=1.0,
    model="cnn",
    conditional="none",
    regularizer="sn",
    gain=False,
    gradient_penalty=0.0,
    flip=False,
    augment="none",
    decay_after=0,
    init="default",
    features=0,
    rate_d=1e-3,
    rate_g=1e-3,
    beta1=0.5,
    beta2=0.999,
    n_dis=2,
    batch_size=6,
    average=0.9,
    steps=10,
    seed=3,
    log_every=1,
    sample_every=5,
    checkpoint_every=5,
)
