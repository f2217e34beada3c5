"""``python -m minisn.gradcheck package.module:function --inputs ...``: check your own function."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import numpy as np

from ..errors import ConfigError
from .check import gradcheck
from .survey import away_from_zero


def check_own(
    target: str, inputs: list[str], claims: dict[str, str | None], order: int, seed: int
) -> int:
    """Import a function by name, check it, print the report, and return the exit status.

    Args:
        target: ``package.module:function``, or ``file.py:function``.
        inputs: for each argument a shape such as ``2x3`` (random numbers), a number, or a
            ``.npy`` file.
        claims: names of the functions for ``grad`` and ``vjp``, or None.
        order: highest order to check.
        seed: seed of random inputs and directions.
    Raises:
        ConfigError: a name cannot be imported, or an input cannot be read.
    """
    rng = np.random.default_rng(seed)
    fn = _load(target)
    module = target.partition(":")[0]
    claimed = {
        kind: _load(name if ":" in name else f"{module}:{name}")
        for kind, name in claims.items()
        if name
    }
    arrays = [_input(text, rng) for text in inputs]
    if not arrays:
        raise ConfigError(
            "gradcheck: no inputs; give --inputs with a shape such as 2x3, a number, or a .npy "
            "file for each argument"
        )
    report = gradcheck(fn, arrays, order=order, seed=seed, **claimed)
    print(report)
    return 0 if report else 1


def _load(target: str) -> Any:
    place, _, name = target.partition(":")
    sys.path.insert(0, os.path.dirname(place) if place.endswith(".py") else os.getcwd())
    try:
        found: Any = importlib.import_module(os.path.basename(place).removesuffix(".py"))
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"gradcheck: {target}: {error}; write package.module:function") from None
    finally:
        sys.path.pop(0)
    return found


def _input(text: str, rng: np.random.Generator) -> Any:
    if text.endswith(".npy"):
        try:
            return np.load(text, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ConfigError(f"gradcheck: --inputs {text}: {error}") from None
    try:
        if "x" in text:
            return away_from_zero(rng, tuple(int(n) for n in text.split("x") if n))
        return float(text)
    except ValueError:
        raise ConfigError(
            f"gradcheck: --inputs {text!r}: expected a shape such as 2x3 (3x for a "
            "vector), a number, or a .npy file"
        ) from None
