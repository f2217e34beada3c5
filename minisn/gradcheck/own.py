"""``python -m minisn.gradcheck package.module:function --inputs ...``: check your own function."""

from __future__ import annotations

import functools
import importlib.util
import operator
import os
import re
import sys
from typing import Any

import numpy as np

from ..arguments import generator
from ..errors import ConfigError, MinisnError
from .check import gradcheck
from .survey import away_from_zero


def check_own(
    target: str, inputs: list[str], claims: dict[str, str | None], order: int, seed: int
) -> int:
    """Import a function by name, check it, print the report, and return the exit status.

    Args:
        target: ``package.module:function``, or ``file.py:function``; or a dict in that place, whose
            items are the arguments of :func:`gradcheck`.
        inputs: for each argument a shape such as ``2x3`` (random numbers), a number, or a
            ``.npy`` file.
        claims: names of the functions for ``grad`` and ``vjp``, or None.
        order: highest order to check.
        seed: seed of random inputs and directions.
    Raises:
        ConfigError: a name cannot be imported, an input cannot be read, or the function fails.
    """
    rng = generator(seed)
    fn = named(target)
    module = target.partition(":")[0]
    claimed = {
        kind: named(name if ":" in name else f"{module}:{name}")
        for kind, name in claims.items()
        if name
    }
    arrays = [_input(text, rng) for text in inputs]
    if isinstance(fn, dict) and (arrays or claimed):
        raise ConfigError(f"gradcheck: {target} has inputs and claims of its own; omit the options")
    if not arrays and not isinstance(fn, dict):
        raise ConfigError(
            "gradcheck: no inputs; give --inputs with a shape such as 2x3, a number, or a .npy "
            "file for each argument"
        )
    spec: dict[str, Any] = {"order": order, "seed": seed} | (fn if isinstance(fn, dict) else {})
    try:
        report = (
            gradcheck(**spec) if isinstance(fn, dict) else gradcheck(fn, arrays, **spec, **claimed)
        )
    except MinisnError:
        raise
    except (Exception, SystemExit) as error:
        told = f"{type(error).__name__}: {error}"
        raise ConfigError(f"gradcheck: {target} or its gradient raised {told}") from error
    print(report)
    return 0 if report else 1


def named(target: str) -> Any:
    """Import what a user names, from the working folder too.

    Args:
        target: ``package.module:name``, or ``file.py:name``.
    Raises:
        ConfigError: the module cannot be imported, whatever it raises, or has no such name.
    """
    place, _, name = target.partition(":")
    try:
        found = _file(place) if place.endswith(".py") else _module(place)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"cannot import {place!r}: {type(error).__name__}: {error}") from error
    try:
        return operator.attrgetter(name)(found)
    except AttributeError:
        module = os.path.basename(place).removesuffix(".py")
        raise ConfigError(f"module {module!r} has no {name!r}; write package.module:name") from None


def _module(name: str) -> Any:
    sys.path.insert(0, "")  # the working folder; it stays, for later imports
    return importlib.import_module(name)


@functools.cache
def _file(place: str) -> Any:
    """Import a file under its own name, also where another module has that name."""
    folder, file = os.path.split(place)
    sys.path.append(folder)  # for what it imports; last, because its name may be another module's
    name = file.removesuffix(".py")
    name = f"_{name}_of_the_user" if name in sys.modules else name
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _input(text: str, rng: np.random.Generator) -> Any:
    if text.endswith(".npy"):
        try:
            array = np.load(text, allow_pickle=False)
        except Exception as error:  # NumPy raises errors of many kinds for a damaged file
            raise ConfigError(f"gradcheck: --inputs {text}: {error}") from None
        if not isinstance(array, np.ndarray):
            raise ConfigError(f"gradcheck: --inputs {text}: expected one array, got an archive")
        return array
    try:
        if re.fullmatch(r"\d+x(\d+(x\d+)*)?", text):
            return away_from_zero(rng, tuple(int(n) for n in text.split("x") if n))
        return float(text)
    except MemoryError:
        raise ConfigError(f"gradcheck: --inputs {text}: the memory is too small for it") from None
    except ValueError:
        raise ConfigError(
            f"gradcheck: --inputs {text!r}: expected a shape such as 2x3 (3x for a "
            "vector), a number, or a .npy file"
        ) from None
