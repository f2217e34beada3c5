"""Inputs and results of measures: samples, and scores with their provenance."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from ..display import table
from ..errors import ComparisonError, DTypeError, NonFiniteError, ShapeError

LARGEST = 1e50
"""Largest absolute value of an input: the kernel distance computes cubes of products."""


def check_numbers(source: str, *arrays: np.ndarray) -> None:
    """Refuse arrays with a NaN, an infinity or a number above :data:`LARGEST`.

    Args:
        source: a description of the arrays.
        arrays: real numbers; no array is empty.
    Raises:
        NonFiniteError: an array holds such a number.
    """
    if not all(float(np.max(np.abs(array))) <= LARGEST for array in arrays):
        raise NonFiniteError(
            f"{source}: a value is a NaN or an infinity, or above {LARGEST:g}, where cubes of "
            "products overflow; check the images and the feature network"
        )


@dataclass(frozen=True, eq=False)
class Sample:
    """Features, class probabilities or pixels of images.

    Args:
        values: a row for each image, [N, ...], on the host.
        source: a description of the images.
        extractor: name of the network that computed the features or probabilities (or, for pixels,
            the labels).
        digest: SHA-256 of the weights of the extractor.
    Raises:
        DTypeError: the values are not real numbers.
        ShapeError: no rows, or only one axis.
        NonFiniteError: a value is a NaN, an infinity or above :data:`LARGEST`.
    """

    values: np.ndarray
    source: str
    extractor: str = "unknown"
    digest: str = "unknown"

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        object.__setattr__(self, "values", values)
        if values.dtype.kind not in "fiub":
            raise DTypeError(
                f"{self.source}: expected real numbers, got dtype {values.dtype}; convert them"
            )
        if values.ndim < 2 or not values.size:
            raise ShapeError(
                f"{self.source}: expected a row for each image, [N, ...], and at least one row; "
                f"got shape {list(values.shape)}"
            )
        check_numbers(self.source, values)

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Provenance:
    """The facts that two scores must share to be comparable.

    Args:
        measure: name of the measure, with its settings.
        samples: number of measured images.
        extractor: name of the feature extractor.
        digest: SHA-256 of the weights of the extractor.
        reference: description of the reference images; ``"none"`` without a reference.
        references: number of reference images.
    """

    measure: str
    samples: int
    extractor: str
    digest: str
    reference: str = "none"
    references: int = 0


@dataclass(frozen=True)
class Score:
    """The result of a measure; ``a < b`` and ``a <= b`` require equal provenance.

    Args:
        value: the number.
        spread: standard deviation over splits, subsets or repeats; None for a single value.
        of: description of the measured images.
        provenance: origin of the number.
    """

    value: float
    spread: float | None
    of: str
    provenance: Provenance

    def __lt__(self, other: "Score") -> bool:
        check_alike(self, other)
        return self.value < other.value

    def _repr_html_(self) -> str:
        """Return a table of the value and its provenance, for notebooks."""
        p = self.provenance
        spread = "" if self.spread is None else f" \u00b1 {self.spread:.2g}"
        rows = [("value", f"{self.value:.6g}{spread}"), ("of", f"{p.samples:,} of {self.of}")]
        if p.references:
            rows.append(("compared with", f"{p.references:,} of {p.reference}"))
        return table(p.measure, [*rows, ("extractor", p.extractor)])

    def __le__(self, other: "Score") -> bool:
        check_alike(self, other)
        return self.value <= other.value


def check_alike(a: Score, b: Score) -> None:
    """Check that two scores have equal provenance.

    Raises:
        ComparisonError: the provenances differ; the error names the differences.
    """
    ours, theirs = a.provenance, b.provenance
    unlike = [
        f.name for f in fields(Provenance) if getattr(ours, f.name) != getattr(theirs, f.name)
    ]
    if unlike:
        raise ComparisonError(
            f"scores of {a.of} and {b.of} cannot be compared: "
            + "; ".join(f"{n} is {getattr(ours, n)!r} and {getattr(theirs, n)!r}" for n in unlike)
            + ". Measure both in the same way"
        )


def repeated(scores: Sequence[Score]) -> Score:
    r"""Combine repeats of one measurement into their mean and standard deviation.

    .. math:: \bar s = \frac1K \sum_k s_k, \qquad
              \mathrm{sd}^2 = \frac1{K-1} \sum_k (s_k - \bar s)^2

    Args:
        scores: at least one score, all of equal provenance.
    Returns:
        A score with the source of the first; a single score is returned unchanged.
    Raises:
        ComparisonError: the provenances differ.
    """
    first = scores[0]
    if len(scores) == 1:
        return first
    for other in scores:
        check_alike(first, other)
    values = np.array([each.value for each in scores])
    measure = f"{first.provenance.measure}, mean of {len(scores)} repeats"
    return Score(
        float(values.mean()),
        _deviation(values, 1),
        first.of,
        replace(first.provenance, measure=measure),
    )


def _deviation(values: Sequence[float] | np.ndarray, ddof: int) -> float:
    """Return the standard deviation, even of values whose squares overflow."""
    _, power = np.frexp(np.max(np.abs(values)))
    return float(np.ldexp(np.std(np.ldexp(values, -power), ddof=ddof), power))


def score(
    measure: str,
    values: Sequence[float] | np.ndarray,
    images: Sample,
    reference: Sample | None = None,
) -> Score:
    """Make a score from one or more values, with its provenance.

    Args:
        measure: name of the measure, with its settings.
        values: a single value, or the values of splits or subsets; the score has their mean and
            (population) standard deviation.
        images: the measured images.
        reference: the reference images, if any.
    """
    spread = _deviation(values, 0) if len(values) > 1 else None
    provenance = Provenance(measure, len(images), images.extractor, images.digest)
    if reference is not None:
        provenance = replace(provenance, reference=reference.source, references=len(reference))
    return Score(float(np.mean(values)), spread, images.source, provenance)


def check_pair(name: str, images: Sample, reference: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of images and reference in double precision, and check both.

    Args:
        name: name of the measure, for the error.
        images, reference: features, [N, d] and [M, d].
    Raises:
        ShapeError: not features, or features of different dimension.
        ComparisonError: features of different extractors.
    """
    x, y = images.values, reference.values
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ShapeError(
            f"{name}: expected features [N, d] and [M, d] of one dimension, got {list(x.shape)} "
            f"of {images.source} and {list(y.shape)} of {reference.source}"
        )
    if (images.extractor, images.digest) != (reference.extractor, reference.digest):
        raise ComparisonError(
            f"{name}: features of {images.source} come from {images.extractor} "
            f"({images.digest[:12]}), those of {reference.source} from {reference.extractor} "
            f"({reference.digest[:12]}); use one extractor for both"
        )
    return x.astype(np.float64), y.astype(np.float64)
