"""Labels that know their range. It is computed once: on the host, if the labels come from there.

A conditional network looks labels up in every layer. If each layer asked a device for the smallest
and the largest label, the host would wait for the device some thirty times a step. A plain array
cannot carry its range, so labels have a class.
"""

from collections.abc import Sequence
from typing import Any, Self

from .backend import Array, bring, check_together, namespace
from .errors import DTypeError, ShapeError
from .indexing import bounds
from .ops import concat
from .tensor import Tensor, as_tensor


class Labels(Tensor):
    """Integers, [N], with a known smallest and largest value."""

    __slots__ = ("least", "most")
    least: int
    most: int

    @classmethod
    def wrap(cls, array: Array, requires_grad: bool = False) -> Tensor:  # type: ignore[override]
        """Make a plain tensor: what is computed from labels has no known range."""
        return Tensor.wrap(array, requires_grad)

    def assign(self, array: Array) -> None:
        """Refuse new values, which would leave the old range."""
        raise DTypeError("labels keep their values and their range; make new labels")

    @classmethod
    def known(cls, array: Array, least: int, most: int) -> Self:
        """Make labels from an array and its range."""
        self = cls.__new__(cls)
        self._set(array, False)
        self.least, self.most = least, most
        return self

    @classmethod
    def joined(cls, parts: Sequence[Tensor | None]) -> Self | None:
        """Join the labels of batches, one after another; None for batches without labels."""
        found = [labels_of("labels", part, part._array) for part in parts if part is not None]
        if not found:
            return None
        array = concat(found)._array
        return cls.known(array, min(x.least for x in found), max(x.most for x in found))

    def check(self, who: str, classes: int) -> None:
        """Refuse labels if one of them is not a class.

        Raises:
            ShapeError: a label is below 0, or not below ``classes``.
        """
        if self.size and not 0 <= self.least <= self.most < classes:
            raise ShapeError(
                f"{who}: labels must be 0 to {classes - 1}, got {self.least} to {self.most}"
            )


def labels_of(who: str, labels: Any, beside: Array) -> Labels:
    """Return labels with their range, in the library and on the device of an array.

    Args:
        who: the name of the caller, for errors.
        labels: integers, [N]; labels from the host move to the device of the array.
        beside: the array.
    Raises:
        DTypeError: the labels are not integers, or on another device.
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
