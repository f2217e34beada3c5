"""Measure what each trick for speed is worth: a training step without it over one with it.

    python tests/benchmarks/tricks.py                    # all: a quarter of an hour, quiet
    python tests/benchmarks/tricks.py winograd narrow    # some

Each trick is switched off in a copy of the package, by a change of its source. All copies take
turns. Ratios are taken turn by turn: median (least - greatest). A ratio above 1 is what the trick
saves.
"""

import argparse
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import checkouts
from felt import MNIST, TABLE_3, ratio

import minisn
from minisn.bench import Contestant, compare

PACKAGE = Path(minisn.__file__).parent
TOGETHER = 6
"""How many copies take turns at once, which bounds the memory."""

TRICKS: dict[str, tuple[str, dict[str, str]]] = {
    "winograd": ("kernels/cpu/winograd.py", {"if not known or": "if True or not known or"}),
    "winograd-where-it-pays": ("kernels/cpu/winograd.py", {"<= 0.8 *": "<= 99 *"}),
    "winograd-phases": ("kernels/cpu/convolution.py", {
        "tuple(kernel), stride, transposed=True)": "tuple(kernel), (0, 0), transposed=True)",
    }),
    "in-place-blocks": ("kernels/cpu/winograd.py", {
        "if top >= 0 and left >= 0 and": "if top >= h and left >= 0 and",
        "if 2 * i + 2 <= h and": "if i > h and",
        "inside = top + stride < h and": "inside = top > h and",
    }),
    "gap": ("kernels/cpu/winograd.py", {"GAP = VECTOR_BYTES\n": "GAP = 0\n"}),
    "blocks-96": ("kernels/cpu/winograd.py", {"BLOCKS = 96": "BLOCKS = 24"}),
    "blocks-256": ("kernels/cpu/winograd.py", {"MANY = 256": "MANY = 64"}),
    "positive-first": ("kernels/cpu/product.py", {
        "sorted(terms, key=lambda term: -term[0])": "terms",
    }),
    "fused-multiply-add": ("kernels/cpu/product.py", {
        'factor, row_of_b[v], flags=("contract",)': "factor, row_of_b[v]",
        'product, total, flags=("contract",)': "product, total",
    }),
    "copies-of-b": ("kernels/cpu/product.py", {"many = vectors == 2": "many = vectors > 2"}),
    "narrow": ("kernels/cpu/narrow.py", {"FEW = 4": "FEW = 0"}),
    "narrow-pixels": ("kernels/cpu/narrow.py", {"PIXELS = 512": "PIXELS = 64"}),
    "tiles": ("kernels/cpu/convolution.py", {"min(512, -(-rows": "min(1 << 30, -(-rows"}),
    "turned-weight": ("kernels/cpu/convolution.py", {
        "if stride == (1, 1):\n        return conv2d(": "if False:\n        return conv2d(",
        "fits := winograd.fits(x, maps,": "fits := stride > (1, 1) and winograd.fits(x, maps,",
    }),
    "no-zeroing": ("kernels/cpu/convolution.py", {"        if not inside:": "        if True:"}),
    "bias-inside": ("fused.py", {
        "conv2d(x, w, stride, padding, b)": "conv2d(x, w, stride, padding) + b[:, None, None]",
    }),
    "fused-normalize": ("fused.py", {
        '@fused("x", "gain", "shift", forward=_normalize, backward=_normalize_pull)\n': "",
    }),
    "fused-spectral": ("spectral.py", {
        '@fused("W", forward=fast.spectral_divide, backward=fast.spectral_pull)\n': "",
    }),
    "compiled-normalize": ("kernels/cpu/normalization.py", {
        "x.ndim < 2 or x.size < SMALL": "x.ndim < 99",
        "len(kept) == 1 and x.size >= SMALL": "len(kept) < 0",
    }),
    "compiled-leaky-relu": ("kernels/cpu/entrywise.py", {
        "if x.size < SMALL:\n        return array_api.leaky_relu(":
            "if True:\n        return array_api.leaky_relu(",
        "if x.size < SMALL:\n        return array_api.leaky_relu_pull(":
            "if True:\n        return array_api.leaky_relu_pull(",
    }),
    "compiled-finite": ("kernels/cpu/entrywise.py", {
        "x.size < SMALL or not x.flags.c_contiguous": "True",
    }),
    "compiled-adam": ("kernels/cpu/entrywise.py", {"theta.size < SMALL": "True"}),
    "vector-dot": ("kernels/cpu/power.py", {', fastmath={"reassoc", "contract"}': ""}),
    "four-rows": ("kernels/cpu/power.py", {
        "whole = last - (last - first) % 4": "whole = first",
    }),
    "small-arrays": ("kernels/cpu/pool.py", {"SMALL = 1 << 15": "SMALL = 0"}),
    "blas-asked-once": ("kernels/cpu/pool.py", {"        if _held:": "        if False:"}),
    "one-pool": ("kernels/cpu/pool.py", {"with _blas.limit(limits=1):": "with suppress():"}),
}  # fmt: skip
"""By name: the file, and the text of the trick with the text in its place."""


def without(name: str, folder: Path) -> Path:
    """Copy the package into the folder, without a trick; "" keeps all. Return the folder."""
    unneeded = shutil.ignore_patterns("__pycache__", "files")  # steps train on noise
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=unneeded)
    if name:
        file, changes = TRICKS[name]
        path = folder / PACKAGE.name / file
        text = path.read_text("utf-8")
        for old, new in changes.items():
            if text.count(old) != 1:
                raise SystemExit(f"{name}: {file} holds {text.count(old)} times {old!r}, not once")
            text = text.replace(old, new)
        path.write_text(text, "utf-8")
    return folder


def main(names: list[str], turns: int) -> None:
    for start in range(0, len(names), TOGETHER):
        with TemporaryDirectory() as root:
            some = ["", *names[start : start + TOGETHER]]
            folders = {name: without(name, Path(root) / (name or "all")) for name in some}
            told = {name: f"{name:24}" for name in some}
            for config, steps in ((MNIST, 5), (TABLE_3, 1)):
                contestants = [
                    Contestant(name, "minisn", config,
                               program=(checkouts.__file__, checkouts.PROGRAM, str(folder)))
                    for name, folder in folders.items()
                ]  # fmt: skip
                first, *rest = compare(contestants, turns, steps)
                for timing in rest:
                    told[timing.name] += f"{ratio(timing, first):24}"
            for name in some[1:]:
                print(told[name].rstrip(), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tricks", nargs="*", choices=[*TRICKS, []], metavar="TRICK", default=[])
    parser.add_argument("--turns", type=int, default=9)
    given = parser.parse_args()
    print(f"{'without':24}{'mnist':24}Table 3 at width 64")
    main(given.tricks or list(TRICKS), given.turns)
