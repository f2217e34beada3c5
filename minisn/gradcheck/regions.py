"""Mistakes in a part of a gradient: an entry, an edge, a range of the input, repeated indices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .evidence import Evidence

BOUNDS = {"negative": (-1, False), "positive": (1, False), "below": (-1, False),
          "above": (1, False), "outside": (1, True), "inside": (-1, True)}  # fmt: skip
"""For each bound on the input, the sign of the wrong side, and whether it bounds the size."""
CLEAR = 100
"""How many times worse wrong entries must be than right ones; otherwise the error only fades."""


def region(found: Evidence) -> Iterator[tuple[str, str]]:
    """Yield what the wrong entries have in common and no right entry has."""
    rows = found.outputs or len(found.claimed)
    bad = np.asarray(found.bad[:rows].any(axis=0))
    shape, n = found.x.shape, int(bad.sum())
    if not n or bad.size < 3:
        return
    seen = np.any(np.abs(found.value[:rows]) > found.slack[:rows], axis=0)
    alone = not np.any(seen & ~bad)  # the others are right only because 0 is 0
    x = found.x.reshape(-1)[found.at]
    where = np.array(np.unravel_index(found.at, shape)) if shape else np.zeros((0, bad.size), int)
    zero = not np.any(found.taken(found.claimed)[:, bad])
    words = "; there the claim is zero" if zero else ""
    if n == 1 and not alone:
        index = [int(i) for i in where[:, int(np.argmax(bad))]]
        if not found.whole:
            yield (
                "one",
                f"1 of {bad.size} entries compared is wrong, {index} of {found.name}{words}",
            )
            return
        text = (
            f"one entry alone is wrong, {index} of {found.name}, of {bad.size} compared: "
            f"look for code that treats it differently{words}"
        )
        yield "one", text
    elif n < bad.size:
        error = np.abs(found.taken(found.claimed) - found.value)[:rows].max(axis=0)
        if error[bad].min() > CLEAR * error[~bad].max():
            if not alone:
                yield from _by_value(x, bad, words, found.value[:rows])
                yield from _by_place(where, shape, bad, words)
            yield from _by_output(found)
        sure = np.abs(found.taken(found.claimed) - found.value) <= found.estimate
        if n > 1 and sure[:rows, ~bad].all():
            yield "some", f"{n} of {bad.size} entries compared are wrong, the others right{words}"
    else:
        yield from _by_output(found)


def _by_value(
    x: np.ndarray, bad: np.ndarray, words: str, right: np.ndarray
) -> Iterator[tuple[str, str]]:
    """Try a bound on the input: below or above it, or outside or inside a range."""
    if bad.sum() < 2 or (~bad).sum() < 2:
        return
    if np.array_equal(bad, x < 0):
        if not np.any(right[:, bad]):
            words = "; there the right gradient is zero (a mask x > 0?)"
        gap = f"; the bound lies between {x[bad].max():.4g} and {x[~bad].min():.4g}"
        yield "negative", f"wrong only where the input is negative{words}{gap}"
    elif np.array_equal(bad, x > 0):
        gap = f"; the bound lies between {x[~bad].max():.4g} and {x[bad].min():.4g}"
        yield "positive", f"wrong only where the input is positive{words}{gap}"
    elif bad.size >= 5 and (x[bad].max() < x[~bad].min() or x[bad].min() > x[~bad].max()):
        low = x[bad].max() < x[~bad].min()
        edge = (x[bad].max(), x[~bad].min()) if low else (x[~bad].max(), x[bad].min())
        side = "below" if low else "above"
        text = (
            f"wrong only where the input is {side} a bound between {edge[0]:.4g} and "
            f"{edge[1]:.4g}{words}"
        )
        yield side, text
    elif bad.size >= 6:
        size = np.abs(x)
        if size[bad].min() > size[~bad].max():
            text = (
                f"wrong only outside a range, where |x| > {size[~bad].max():.4g} "
                f"(at most {size[bad].min():.4g}){words}"
            )
            yield "outside", text
        elif size[bad].max() < size[~bad].min():
            yield "inside", f"wrong only inside a range, where |x| <= {size[bad].max():.4g}{words}"


def moves_with_value(name: str, first: Evidence, other: Evidence) -> bool:
    """Return whether the entries that a bound on the input makes wrong are wrong elsewhere, too.

    An entry beyond those seen wrong and right, between them, tells nothing.
    """
    if name not in BOUNDS:
        return True
    sign, size = BOUNDS[name]

    def measure(found: Evidence) -> tuple[np.ndarray, np.ndarray]:
        x = found.x.reshape(-1)[found.at]
        rows = found.outputs or len(found.claimed)
        return sign * (np.abs(x) if size else x), np.asarray(found.bad[:rows].any(axis=0))

    (here, bad), (there, wrong) = measure(first), measure(other)
    expected, clear = there >= here[bad].min(), there <= here[~bad].max()
    return bool(np.all(wrong[expected]) and not np.any(wrong[clear]))


def _by_place(
    where: np.ndarray, shape: tuple[int, ...], bad: np.ndarray, words: str
) -> Iterator[tuple[str, str]]:
    """Try indices of an axis at which every entry is wrong."""
    for axis, length in enumerate(shape):
        wrong = sorted({int(i) for i in where[axis][bad]})
        right = {int(i) for i in where[axis][~bad]}
        if right.isdisjoint(wrong) and (2 * len(wrong) <= length or bad.size > length):
            edge = " (an edge)" if set(wrong) <= {0, length - 1} else ""
            text = f"wrong only at index {wrong} of axis {axis}{edge}{words}"
            yield f"index {axis} {wrong}", text


def _by_output(found: Evidence) -> Iterator[tuple[str, str]]:
    """Try single outputs whose gradient is wrong."""
    m = found.outputs
    if m < 3:
        return
    bad = found.bad[:m].any(axis=1)
    used = np.any(np.abs(found.value[:m]) > found.slack[:m], axis=1)
    if 0 < bad.sum() <= m // 3 and used.sum() > 2 and (found.bad[:m].sum() > 1 or bad.sum() == 1):
        named = ", ".join(found.place(int(r)) for r in np.flatnonzero(bad)[:4])
        yield f"outputs {named}", f"wrong only in the gradient of {named}"


def repeated(found: Evidence) -> Iterator[tuple[str, str]]:
    """Try `=` in place of `+=`: of the outputs that use an entry only one counts.

    A loop over the outputs keeps the last, a loop over the positions of a kernel the first, each
    for one channel or for all.
    """
    m = found.outputs
    if m < 2:
        return
    used = np.abs(found.value[:m]) > found.slack[:m]
    bad, taken = found.bad[:m], found.taken(found.claimed)[:m]
    if not bad.any() or np.any(bad & (taken != 0)):
        return
    place = np.arange(m)[:, None]
    for at in (place, place % int(np.prod(found.shape[1:]))):
        for order, word in ((at, "last"), (-at, "first")):
            kept = order == np.max(np.where(used, order, -m), axis=0)
            rows, columns = np.nonzero(kept & used)
            own = np.array_equal(rows, found.at[columns])
            if np.array_equal(bad, used & ~kept) and not (own and word == "first"):
                text = (
                    "`=` in place of `+=`: where several outputs use one entry, only the "
                    f"{word} output counts"
                )
                yield "assigned", text
                return
