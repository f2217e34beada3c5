"""Train for many steps, and check that neither memory nor the error of sigma grows.

    python tests/trust/long_run.py --steps 20000      # the preset mnist-tiny, some 20 minutes

After each twentieth of the steps, the script records the memory of the process and the largest
error of a layer's estimate of its spectral norm. ``results/long_run.json`` keeps the figures; a
drift is an error.
"""

import argparse
import json
import os
from pathlib import Path
from statistics import median

from minisn import runs, spectral
from minisn.backend import to_numpy
from minisn.config import load_preset
from minisn.data import load
from minisn.nn import weighted_layers
from minisn.training import Trainer

FOUND = Path(__file__).parent / "results" / "long_run.json"
PARTS = 20


def held() -> float:
    """Return the memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def sigma_error(trainer: Trainer) -> float:
    """Return the largest relative error of an estimate over the layers of D."""
    return max(
        abs(float(spectral.sigma(W, layer.state["u"], layer.state["v"])) / exact - 1)
        for layer in weighted_layers(trainer.D).values()
        for W in [layer.weight]
        for exact in [float(to_numpy(spectral.singular_values(W))[0])]
    )


def main() -> None:
    """Train, record, and compare the second half with the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    steps = parser.parse_args().steps
    config = load_preset("mnist-tiny").replace(steps=steps)
    trainer = Trainer(config, load("mnist-10k").images)
    lines = []
    for part in range(1, PARTS + 1):
        while trainer.step < steps * part // PARTS:
            trainer.update()
        trainer.sample(runs.sample_vectors(config))
        lines.append({"step": trainer.step, "MB": held(), "sigma_error": sigma_error(trainer)})
        print(lines[-1], flush=True)
    early, late = lines[: PARTS // 2], lines[PARTS // 2 :]
    growth = max(line["MB"] for line in late) / max(line["MB"] for line in early)
    errors = [median(line["sigma_error"] for line in half) for half in (early, late)]
    FOUND.write_text(
        json.dumps({"growth": growth, "errors": errors, "lines": lines}, indent=1) + "\n"
    )
    if growth > 1.02 or errors[1] > max(2 * errors[0], 1e-3):
        raise SystemExit(
            f"drift: memory grew {growth:.3f} times; median errors of sigma in both halves {errors}"
        )


if __name__ == "__main__":
    main()
