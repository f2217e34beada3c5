"""What measures take and what they give: numbers that know where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from ..display import table
from ..errors import ComparisonError, DTypeError, NonFiniteError, ShapeError

LARGEST = 1e50
"""Of the size of a number that is measured: the kernel distance takes cubes of products."""


def check_numbers(source: str, *arrays: np.ndarray) -> None:
    """Refuse arrays with a NaN, an infinity or a number above :data:`LARGEST`.

    Args:
        source: what they are, for people.
        arrays: real numbers, none of them empty.
    Raises:
        NonFiniteError: one holds such a number.
    """
    if not all(float(np.max(np.abs(array))) <= LARGEST for array in arrays):
        raise NonFiniteError(
            f"{source}: a value is a NaN or an infinity, or above {LARGEST:g}, where cubes of "
            "products overflow; look whether the images or the network that measured them are sound"
        )


@dataclass(frozen=True, eq=False)
class Sample:
    """Numbers that were measured on images: features, class probabilities, or the pixels.

    Args:
        values: a row for each image, [N, ...], read on the host.
        source: what the images are, for people.
        extractor: name of what made features or probabilities (or the labels of pixels).
        digest: SHA-256 of its weights.
    Raises:
        DTypeError: they are no real numbers.
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
                f"{self.source}: expected one row for each of at least one image, [N, ...], got "
                f"shape {list(values.shape)}"
            )
        check_numbers(self.source, values)

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Provenance:
    """All that two numbers must have in common to be compared.

    Args:
        measure: what was computed, with its settings.
        samples: how many images were judged.
        extractor: name of the feature extractor.
        digest: SHA-256 of its weights.
        reference: what the images were compared with; "none" if with nothing.
        references: how many images that are.
    """

    measure: str
    samples: int
    extractor: str
    digest: str
    reference: str = "none"
    references: int = 0


@dataclass(frozen=True)
class Score:
    """A result: ``a < b`` and ``a <= b`` compare values, of like provenance only.

    Args:
        value: the number.
        spread: standard deviation over splits, subsets or repeats; None of one.
        of: source of the images that were judged.
        provenance: where the number comes from.
    """

    value: float
    spread: float | None
    of: str
    provenance: Provenance

    def __lt__(self, other: "Score") -> bool:
        check_alike(self, other)
        return self.value < other.value

    def _repr_html_(self) -> str:
        """Show the value with where it comes from as a table, in a notebook."""
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
    """Refuse to compare what was not measured alike.

    Raises:
        ComparisonError: the provenances differ; the message says in what.
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
    r"""Join repeats of one measurement into their mean and standard deviation.

    .. math:: \bar s = \frac1K \sum_k s_k, \qquad
              \mathrm{sd}^2 = \frac1{K-1} \sum_k (s_k - \bar s)^2

    Args:
        scores: of like provenance, at least one.
    Returns:
        A score with the first one's source; one alone is returned as it is.
    Raises:
        ComparisonError: they were not measured alike.
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
    """Return the standard deviation; measures may be so large that squares of them overflow."""
    _, power = np.frexp(np.max(np.abs(values)))
    return float(np.ldexp(np.std(np.ldexp(values, -power), ddof=ddof), power))


def score(
    measure: str,
    values: Sequence[float] | np.ndarray,
    images: Sample,
    reference: Sample | None = None,
) -> Score:
    """Make a score of one or more values, with the provenance of what they came from.

    Args:
        measure: what was computed, with its settings.
        values: one, or those of splits or subsets, of which mean and (population) standard
            deviation are taken.
        images: what was judged.
        reference: what it was compared with.
    """
    spread = _deviation(values, 0) if len(values) > 1 else None
    provenance = Provenance(measure, len(images), images.extractor, images.digest)
    if reference is not None:
        provenance = replace(provenance, reference=reference.source, references=len(reference))
    return Score(float(np.mean(values)), spread, images.source, provenance)


def check_pair(name: str, images: Sample, reference: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of both in double precision, if they belong together.

    Args:
        name: of the measure, for the error.
        images, reference: features [N, d] and [M, d].
    Raises:
        ShapeError: no features, or of unlike dimension.
        ComparisonError: different extractors made them.
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
            f"({reference.digest[:12]}); take one extractor for both"
        )
    return x.astype(np.float64), y.astype(np.float64)
