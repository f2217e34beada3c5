"""Train on the photographs in the package: one preset with several seeds, and score each run.

    python tests/benchmarks/photographs.py --out runs/photographs

For each seed the script runs ``minisn train cifar10-small --seed N``, then ``minisn evaluate``; an
interrupted run continues. It writes to ``tutorials/studies/photographs`` a table of all scores
beside those of real images, the last sheet of samples of each seed, and the averaged generator of
the first seed, in half precision.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from minisn.checkpoint import load
from minisn.runs import CHECKPOINT, LOG, read_lines

KEPT = Path(__file__).parents[2] / "tutorials" / "studies" / "photographs"
MEASURES = {"inception-style score": "score", "Fréchet distance": "frechet",
            "precision": "precision", "recall": "recall"}  # fmt: skip


def minisn(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "minisn.cli", *map(str, arguments)], check=True)


def train(preset: str, seed: int, out: Path) -> Path:
    """Start a run, or resume it, and return its folder."""
    run = out / f"{preset}-seed-{seed}"
    if (run / CHECKPOINT).exists():
        minisn("train", "--resume", run)
    else:
        shutil.rmtree(run, ignore_errors=True)
        minisn("train", preset, "--seed", seed, "--out", run)
    return run


def row(run: Path, seed: int) -> dict[str, float]:
    """Score a run, and return its row of the table."""
    minisn("evaluate", run, "--samples", 1000, "--json", run / "scores.json")
    columns = json.loads((run / "scores.json").read_text("utf-8"))
    last = read_lines(run / LOG)[-1][0]
    found = {"seed": seed, "steps": last["step"],
             "spread": last["spread"]["samples"] / last["spread"]["data"]}  # fmt: skip
    for suffix, scores in (("", columns["samples"]), ("_real", columns["real data"])):
        for score in scores:
            name = MEASURES.get(score["provenance"]["measure"].split(",")[0])
            if name:
                found[f"{name}{suffix}"] = score["value"]
    return {name: round(value, 4) for name, value in found.items()}


def keep_generator(run: Path) -> None:
    arrays = load(run / CHECKPOINT).part("average")
    save_file(
        {name: np.asarray(a, np.float16) for name, a in arrays.items()},
        KEPT / "generator.safetensors",
    )


def main(preset: str, seeds: list[int], out: Path) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in seeds:
        run = train(preset, seed, out)
        rows.append(row(run, seed))
        shutil.copy(max((run / "samples").glob("*.png")), KEPT / f"seed-{seed}.png")
        if seed == seeds[0]:
            keep_generator(run)
    with (KEPT / "table.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="cifar10-small")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    main(given.preset, given.seeds, given.out)
