"""Labels whose range is known: it is asked for once, best where they come from the host.

A conditional network looks its labels up in every layer. To ask a device there for their least and
their largest would make the host wait for it some thirty times a step.
"""

from collections.abc import Sequence
from typing import Any, Self

from .backend import Array, bring, check_together, namespace
from .errors import DTypeError, ShapeError
from .indexing import bounds
from .ops import concat
from .tensor import Tensor, as_tensor


class Labels(Tensor):
    """Integers [N] of which the least and the largest are known."""

    __slots__ = ("least", "most")
    least: int
    most: int

    @classmethod
    def known(cls, array: Array, least: int, most: int) -> Self:
        """Make labels of an array and its range."""
        self = cls.wrap(array)
        self.least, self.most = least, most
        return self

    @classmethod
    def joined(cls, parts: Sequence[Tensor]) -> Self:
        """Join labels, one after another."""
        found = [labels_of("labels", part, part._array) for part in parts]
        array = concat(found)._array
        return cls.known(array, min(x.least for x in found), max(x.most for x in found))

    def check(self, who: str, classes: int) -> None:
        """Refuse labels of which one is no class.

        Raises:
            ShapeError: a label is below 0, or not below ``classes``.
        """
        if self.size and not 0 <= self.least <= self.most < classes:
            raise ShapeError(
                f"{who}: labels must be 0 to {classes - 1}, got {self.least} to {self.most}"
            )


def labels_of(who: str, labels: Any, beside: Array) -> Labels:
    """Return labels beside an array, their range found where they lie, if it was not before.

    Args:
        who: names the caller in errors.
        labels: integers, [N]; from the host they are brought to where the array is.
        beside: the array.
    Raises:
        DTypeError: they are not integers, or in another place.
    """
    if isinstance(labels, Labels):
        return labels
    array = as_tensor(labels)._array
    if not namespace(array).isdtype(array.dtype, "integral"):
        raise DTypeError(
            f"{who}: labels must be integers, got dtype {array.dtype}; "
            "convert whole numbers with astype(int)"
        )
    there = bring(array, beside)
    check_together(who, (beside, there))
    return Labels.known(there, *(bounds(array) if array.size else (0, 0)))
