"""Trees, which are nested lists, tuples and dicts of arrays: flatten and rebuild them."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..backend import is_array, to_numpy
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor


def as_numpy(value: Any) -> np.ndarray:
    """Return the values of a Tensor, an array of any library or a number as a NumPy array."""
    if isinstance(value, Tensor):
        value = value.array
    if hasattr(value, "detach"):  # a tensor of PyTorch
        value = value.detach().cpu().to_dense().resolve_conj().resolve_neg()
        value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    if str(getattr(value, "dtype", "")) == "bfloat16":  # of JAX
        value = np.asarray(value).astype(np.float32)
    return to_numpy(value) if is_array(value) else np.asarray(value)


def several(result: Any) -> list[Any]:
    """Return one result or several results as a list."""
    return list(result) if isinstance(result, list | tuple) else [result]


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each leaf of a tree with the indices that lead to it, such as ``"[0]['w']"``."""
    if isinstance(tree, list | tuple | dict):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, part in items:
            yield from leaves(part, f"{path}[{key!r}]")
    else:
        yield path, tree


def rebuilt(tree: Any, values: Iterator[Any]) -> Any:
    """Return a tree of the same structure with other leaves."""
    if isinstance(tree, dict):
        made = copy.copy(tree)  # a defaultdict keeps its factory
        made.update({key: rebuilt(part, values) for key, part in tree.items()})
        return made
    if isinstance(tree, list | tuple):
        parts = [rebuilt(part, values) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return next(values)


def outputs_of(result: Any) -> tuple[list[str], list[Any], list[bool]]:
    """Return each output's place among several, such as ``"0['w']"``, and which can vary."""
    found = list(leaves(result))
    names = [path[1:].replace("]", "", 1) for path, _ in found]
    outputs = [leaf for _, leaf in found]
    return names, outputs, varying(outputs)


def varying(outputs: Sequence[Any]) -> list[bool]:
    """Return which outputs can have a derivative: integers and booleans only if all are such."""
    whole = [_is_whole(y) for y in outputs]
    return [not w or all(whole) for w in whole]


def _is_whole(value: Any) -> bool:
    held = str(getattr(value, "dtype", type(value).__name__))
    return "int" in held or "bool" in held


def matched(tree: Any, model: Any) -> list[Any]:
    """Return the leaves of a tree in the order of a model; dicts may differ in order.

    Raises:
        ShapeError: the tree is nested differently from the model.
    """
    if isinstance(model, dict) and isinstance(tree, dict) and tree.keys() == model.keys():
        return [leaf for key in model for leaf in matched(tree[key], model[key])]
    if isinstance(model, list | tuple) and isinstance(tree, list | tuple | np.ndarray):
        if len(tree) == len(model):
            return [leaf for t, m in zip(tree, model, strict=True) for leaf in matched(t, m)]
    elif not isinstance(model, list | tuple | dict) and not isinstance(tree, dict):
        return [tree]
    raise ShapeError(
        "gradcheck: the claimed gradients are nested differently from the inputs; return "
        "them in the same lists, tuples and dicts"
    )


def flat_reals(outputs: Sequence[Any]) -> np.ndarray:
    """Return real outputs as one flat vector in float64.

    Raises:
        DTypeError: an output is not a real array or number.
    """
    arrays = [as_numpy(y) for y in outputs]
    for y, given in zip(arrays, outputs, strict=True):
        if y.dtype.kind not in "fiu":
            kind = f"an array of {y.dtype}" if y.ndim else type(given).__name__
            raise DTypeError(f"gradcheck: fn returned {kind}, expected real arrays or numbers")
    return np.concatenate([y.astype(np.float64).reshape(-1) for y in arrays] or [np.zeros(0)])
