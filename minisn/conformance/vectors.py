"""Vectors: inputs, states and expected outputs as files, for implementations in any language.

A folder holds one safetensors file (float64), a JSON file that lists the tensors of each clause,
and a README.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from ..errors import DataError
from ..files import write_file
from . import probes
from .probes import KINDS, draw, slow, start
from .reference import ORDERS, algorithm_1, norm, pull, rounds, second, signal, through
from .suite import all_clauses

Arrays = dict[str, np.ndarray]


Case = tuple[int, str, str, Arrays, Arrays]
"""The number of a clause, the case, what to do, inputs, expected outputs."""


def cases() -> Iterator[Case]:
    """Yield every case."""
    for number, kind in enumerate(KINDS, 1):
        W = draw(kind)
        N, slope = norm(kind, W)
        G = draw(kind, 3)
        text = f"normalize W; the output axis is {KINDS[kind].axis}"
        yield number, kind, text, {"W": W}, {"W_bar": W / N, "sigma": np.array(N)}
        text = "gradient with respect to W of <G, W_bar>, at convergence"
        yield 6, kind, text, {"W": W, "G": G}, {"dW": pull("constant", G, W, N, slope)}
    yield from _one_round()
    yield from _scales()
    W, G, H = draw("dense"), draw("dense", 3), draw("dense", 4)
    text = "gradient with respect to W of <H, dW of <G, W_bar>>, u and v constant, at convergence"
    twice = {"d2W": second(G, H, W, *norm("dense", W))}
    yield 26, "dense", text, {"W": W, "G": G, "H": H}, twice
    for definition, kind in (("BSN", "conv"), ("BSN", "deconv"), ("SN_Conv", "conv")):
        W = draw(kind)
        N, slope = norm(kind, W, definition)
        G = draw(kind, 3)
        text = f"{definition}: normalize W, and the gradient of <G, W_bar>, at convergence"
        if definition == "SN_Conv":
            text += f"; images of {probes.SIZE} by {probes.SIZE}, stride 1, padding 1"
        right = {"W_bar": W / N, "dW": pull("constant", G, W, N, slope)}
        number = list(KINDS).index(kind) + 1
        yield number, f"{kind}-{definition}", text, {"W": W, "G": G}, right


def _one_round() -> Iterator[Case]:
    """Yield the cases that start from known vectors, in both orders of a round."""
    W, (u, v), G, G2 = slow(), start(), draw("dense", 3), draw("dense", 4)
    given = {"W": W, "u": u, "v": v}
    signals = {"G": np.stack([signal(step) for step in range(200)])}
    for order in ORDERS:
        name = order.replace(" ", "-")
        a, b = rounds(W, u, v, order, 1)
        sigma, slope = a @ W @ b, np.outer(a, b)
        right = {"u": a, "v": b, "sigma": np.array(sigma), "W_bar": W / sigma}
        yield 5, name, f"one round, {order}, then normalize", given, right
        g = pull("constant", G, W, sigma, slope)
        text = (
            f"gradient of <G, W_bar> after one round, {order}; dW_through differentiates "
            "the round, too, for comparison"
        )
        right = {"dW": g, "dW_through": through(G, W, u, v, order, 1)}
        yield 7, name, text, given | {"G": G}, right
        c, d = rounds(W, a, b, order, 1)
        two = pull("constant", G2, W, c @ W @ d, np.outer(c, d))
        same = pull("constant", G2, W, sigma, slope)
        text = (
            f"one round, pass, one round, pass, {order}; gradient of "
            "<G, W_bar> + <G2, W_bar>; dW_same is the gradient without the second round"
        )
        yield 11, name, text, given | {"G": G, "G2": G2}, {"dW": g + two, "dW_same": g + same}
        u4, v4 = rounds(W, u, v, order, 4)
        right = {"u": u4, "v": v4, "W_bar": W / (u4 @ W @ v4)}
        yield 10, name, f"four passes of one round, {order}", given, right
        text = f"200 steps: one round, {order}, then W <- W - 0.1 dW of <G[step], W_bar>"
        yield 27, name, text, given | signals, {"W_after": algorithm_1(W, u, v, order, 1)}


def _scales() -> Iterator[Case]:
    W = draw("dense")
    W_bar = W / norm("dense", W)[0]
    for number, power in ((18, 15), (18, -15), (19, 25), (19, -25)):
        text = "normalize W, in single precision too"
        yield number, f"1e{power}", text, {"W": W * 10.0**power}, {"W_bar": W_bar}
    yield 28, "dense", "normalize W, whose norm is 0.3", {"W": 0.3 * W_bar}, {"W_bar": W_bar}
    zero = {"W": np.zeros_like(W)}
    text = "normalize W = 0: the output is finite, here 0"
    yield 16, "dense", text, zero, {"W_bar": zero["W"]}


README = (resources.files(__package__) / "vectors.md").read_text("utf-8")


def write(folder: Path) -> list[Path]:
    """Write the files.

    Args:
        folder: folder of the files, created if missing.
    Returns:
        The paths of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: Arrays = {}
    listed = []
    tolerances = {each.number: each.tolerance for each in all_clauses()}
    for number, name, text, inputs, outputs in cases():
        case = f"{number:02}-{name}"
        entry = {"case": case, "clause": number, "do": text, "tolerance": tolerances[number]}
        for part, arrays in (("inputs", inputs), ("expected", outputs)):
            tensors |= {
                f"{case}/{part}/{k}": np.array(a, np.float64, order="C") for k, a in arrays.items()
            }
            entry[part] = {k: f"{case}/{part}/{k}" for k in arrays}
        listed.append(entry)
    paths = [folder / f for f in ("vectors.safetensors", "vectors.json", "README.md")]
    old = paths[2].read_text("utf-8", "replace") if paths[2].is_file() else README
    if not old.startswith(README.splitlines()[0]):
        raise DataError(f"{paths[2]} is another README; choose an empty folder with --vectors")
    texts = json.dumps(listed, indent=1) + "\n", README
    for path, content in zip(paths, (save(tensors), *(t.encode() for t in texts)), strict=True):
        write_file(path, content, "choose another folder with --vectors")
    return paths
