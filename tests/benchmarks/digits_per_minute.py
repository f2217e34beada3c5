"""Score the images that minisn and PyTorch draw after the same time of training at the same width.

    python tests/benchmarks/digits_per_minute.py --at 30 60 120 300
    python tests/benchmarks/digits_per_minute.py --preset cifar10-hour --at 3600 --data-dir FOLDER

Three contestants run one after the other, each in its own process. The first is the preset in
minisn. The second is the same recipe in PyTorch (``recipe_in_torch.py``). The third is the same
SNGAN in PyTorch with the usual step sizes (2e-4, beta 0.5 and 0.999) and PyTorch's first weights,
without running average, augmentation, flips, scale and decay. At each moment the features that ship
with minisn score samples, and the clock stops meanwhile. With ``--steps`` the moments are updates
instead of seconds, for machines that do other work, too. With ``--as-study`` the images and scores
are those of ``minisn study hour``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

USUAL = {"rate_d": 2e-4, "rate_g": 2e-4, "beta1": 0.5, "beta2": 0.999}
USUAL |= {"decay_after": 0, "scale": 1.0, "flip": False, "augment": "none", "average": 0.0}
CONTESTANTS = ("minisn", "torch", "torch with usual settings")
SAMPLES = 5000


def contender(name, config, images):
    """Make a trainer with ``update``, ``sample`` and ``config``."""
    from minisn import kernels
    from minisn.data import scale_images
    from minisn.training import Trainer

    if name == "minisn":
        return Trainer(config, images)
    from recipe_in_torch import Recipe, take_weights

    config = config if name == "torch" else config.replace(**USUAL)
    theirs = Recipe(config, scale_images(images), kernels.threads())
    if name == "torch":
        ours = Trainer(config, images)
        take_weights(theirs.G, ours.G)
        take_weights(theirs.D, ours.D)
    return theirs


def contend(name: str, given: argparse.Namespace) -> None:
    """Train, and print the scores of samples at each moment."""
    from minisn.config import load_preset, parse_settings
    from minisn.data import load
    from minisn.study.cells import HELD_OUT
    from minisn.study.scores import scores

    config = load_preset(given.preset).replace(seed=given.seed, **parse_settings(given.set))
    data = load(config.data, given.data_dir).images
    if given.as_study:
        training = reference = data[np.arange(len(data)) % HELD_OUT != 0]
    else:
        order = np.random.default_rng(0).permutation(len(data))
        kept = min(len(data) // 2, SAMPLES)
        training, reference = data[order[:-kept]], data[order[-kept:]]
    samples = {} if given.as_study else {"samples": SAMPLES}
    trainer = contender(name, config, training)
    trainer.update()  # compiles
    seconds, steps = 0.0, 1
    for moment in given.at:
        while (steps if given.steps else seconds) < moment:
            start = time.perf_counter()
            trainer.update()
            seconds += time.perf_counter() - start
            steps += 1
        with tempfile.TemporaryDirectory() as folder:
            found = scores(trainer, reference, Path(folder), **samples)
        told = {"contestant": name, "seed": given.seed, "seconds": round(seconds), "steps": steps}
        print(json.dumps(told | found), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="mnist")
    parser.add_argument("--data-dir")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at", type=float, nargs="+", default=[30, 60, 120, 300])
    parser.add_argument("--steps", action="store_true", help="--at counts updates")
    parser.add_argument("--as-study", action="store_true", help="train and score on its images")
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE, of the preset")
    parser.add_argument("--contestant", choices=CONTESTANTS)
    given = parser.parse_args()
    if given.contestant:
        contend(given.contestant, given)
    else:
        for each in CONTESTANTS:
            subprocess.run(
                [sys.executable, *sys.argv, "--contestant", each],
                check=True,
            )
