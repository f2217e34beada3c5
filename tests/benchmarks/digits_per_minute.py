"""How good the digits are that minisn and PyTorch draw after the same time, at the same width.

    python tests/benchmarks/digits_per_minute.py --seconds 300

Three contestants, one after the other, each in a process of its own: the preset ``mnist``; the same
SNGAN in PyTorch (:mod:`minisn.bench_torch`) with the same step sizes, without a running average of
G; and with step sizes that SNGANs are usually given (2e-4, beta 0.5 and 0.999). Each trains for
the given time, then 5,000 samples are scored by the features that ship against 5,000 real digits.
"""

import argparse
import json
import subprocess
import sys
import time

import numpy as np

USUAL = {"rate_d": 2e-4, "rate_g": 2e-4, "beta1": 0.5, "beta2": 0.999}
CONTESTANTS = ("minisn", "torch", "torch with usual settings")
SAMPLES = 5000


def contend(name: str, seconds: float) -> None:
    """Train for a while, and print what the samples score."""
    from minisn import kernels
    from minisn.config import load_preset
    from minisn.data import load, scale_images, unscale_images
    from minisn.metrics import extractor_for, frechet_distance, inception_score
    from minisn.training import Trainer

    config, data = load_preset("mnist"), load("mnist-10k").images
    order = np.random.default_rng(0).permutation(len(data))
    training, reference = data[order[: len(data) // 2]], data[order[len(data) // 2 :]]
    z = np.random.default_rng(1).standard_normal((SAMPLES, config.latent), np.float32)
    if name == "minisn":
        trainer = Trainer(config, training)
        draw = trainer.sample
    else:
        import torch

        from minisn.bench_torch import TorchTrainer

        config = config.replace(average=0.0, **USUAL if name != "torch" else {})
        trainer = TorchTrainer(config, scale_images(training), kernels.threads())

        def draw(z):
            trainer.G.eval()
            with torch.no_grad():
                return trainer.G(torch.tensor(z)).numpy()

    trainer.update()  # compiles
    start, steps = time.perf_counter(), 1
    while time.perf_counter() - start < seconds:
        trainer.update()
        steps += 1
    images = np.concatenate([draw(z[k : k + 250]) for k in range(0, SAMPLES, 250)])
    extractor = extractor_for((1, 28, 28))
    features, p = extractor(unscale_images(images), name)
    real, p_real = extractor(reference, "real digits")
    print(
        json.dumps(
            {
                "contestant": name,
                "seconds": seconds,
                "steps": steps,
                "inception_style": inception_score(p, splits=1).value,
                "of_real_digits": inception_score(p_real, splits=1).value,
                "frechet": frechet_distance(features, real).value,
            }
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--contestant", choices=CONTESTANTS)
    given = parser.parse_args()
    if given.contestant:
        contend(given.contestant, given.seconds)
    else:
        for each in CONTESTANTS:
            subprocess.run(
                [sys.executable, __file__, "--contestant", each, "--seconds", str(given.seconds)],
                check=True,
            )
